use super::{Goal, at_least, at_most};

// A folder of random weights in BF16, to FP8 with a scale per row, nearest codes.
pub(crate) const TIME: Goal =
    at_least("conversion of a folder, times faster than llm-compressor", Some(5.0), None);
pub(crate) const MEMORY: Goal =
    at_most("peak memory of it, over that of llm-compressor", Some(0.2), None);
pub(crate) const SIZE: Goal =
    at_most("size of its files, difference from llm-compressor's", Some(0.01), None);

// Gemma 3 270M on held-out texts, `int4-group-128`, statistics without gradients.
pub(crate) const OVER_NEAREST: Goal =
    at_most("KL, `int4-group-128` with statistics, over nearest", Some(0.5), None);
pub(crate) const OVER_GPTQ: Goal =
    at_most("KL of it, over llm-compressor's GPTQ on the same texts", Some(1.05), None);

pub(crate) const ALL: [&Goal; 5] = [&TIME, &MEMORY, &SIZE, &OVER_NEAREST, &OVER_GPTQ];
