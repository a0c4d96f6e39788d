use super::{Goal, at_most};

// Sentence encoders on held-out texts, over nearest codes of the same scheme; the worse of both models.
pub(crate) const FP8_FULL: Goal =
    at_most("output error², `fp8`, full statistics, over nearest", Some(0.40), Some(0.30));
pub(crate) const FP8_RANK_64: Goal =
    at_most("output error², `fp8`, rank 64 + diagonal, over nearest", Some(0.50), None);
pub(crate) const FP8_RANK_16: Goal =
    at_most("output error², `fp8`, rank 16 + diagonal, over nearest", Some(0.60), None);
pub(crate) const FP8_EMBEDDINGS: Goal = at_most(
    "1 − cosine of embeddings, `fp8`, full statistics, over nearest",
    Some(0.50),
    Some(0.40),
);
pub(crate) const INT8_FULL: Goal =
    at_most("output error², `int8-row`, full statistics, over nearest", Some(0.45), Some(0.35));
pub(crate) const CONVROT_EMBEDDINGS: Goal = at_most(
    "1 − cosine of embeddings, `int8-row-convrot`, full statistics, damping 5 %, over nearest",
    Some(0.45),
    Some(0.30),
);
pub(crate) const NVFP4_FULL: Goal =
    at_most("output error², `nvfp4`, full statistics, over nearest", Some(0.55), None);
pub(crate) const INT4_FULL: Goal =
    at_most("output error², `int4-convrot`, full statistics, over nearest", Some(0.55), None);

// One 3072×3072 layer, two cores.
pub(crate) const SECONDS_FULL: Goal =
    at_most("seconds for a 3072×3072 layer, full statistics", Some(3.0), Some(1.0));
pub(crate) const SECONDS_RANK_64: Goal =
    at_most("seconds for a 3072×3072 layer, rank 64 + diagonal", Some(1.0), None);

pub(crate) const COLLECTOR: Goal =
    at_most("encoding 300 texts with MiniLM while collecting, over the plain run", Some(2.0), None);

pub(crate) const SELF: Goal = at_most(
    "KL of a small language model, `fp8`, full statistics of its own text, over nearest",
    Some(0.80),
    Some(0.70),
);

pub(crate) const ALL: [&Goal; 12] = [
    &FP8_FULL,
    &FP8_RANK_64,
    &FP8_RANK_16,
    &FP8_EMBEDDINGS,
    &INT8_FULL,
    &CONVROT_EMBEDDINGS,
    &NVFP4_FULL,
    &INT4_FULL,
    &SECONDS_FULL,
    &SECONDS_RANK_64,
    &COLLECTOR,
    &SELF,
];
