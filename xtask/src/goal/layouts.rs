use super::{Goal, at_least};

// The 1 GiB model of `bench convert`, nearest rounding, one thread; without verification and sync.
pub(crate) const NVFP4: Goal =
    at_least("conversion to `nvfp4`, G elements/s and thread", Some(0.4), None);
pub(crate) const MXFP8: Goal =
    at_least("conversion to `mxfp8`, G elements/s and thread", Some(0.4), None);
pub(crate) const CONVROT: Goal =
    at_least("conversion to `int8-row-convrot`, G elements/s and thread", Some(0.3), None);

// The FP8 file of the same model, all threads.
pub(crate) const TO_BF16: Goal = at_least("dequantize to BF16, GB/s of output", Some(1.0), None);
pub(crate) const TO_F16: Goal = at_least("dequantize to F16, GB/s of output", Some(1.0), None);
pub(crate) const TO_F32: Goal = at_least("dequantize to F32, GB/s of output", Some(1.0), None);

pub(crate) const ALL: [&Goal; 6] = [&NVFP4, &MXFP8, &CONVROT, &TO_BF16, &TO_F16, &TO_F32];
