use super::{Goal, at_least, at_most};

// 1024×1024, k = 204. Projected error is ‖UᵀEV‖, U and V the true vectors, over that of nearest codes.
pub(crate) const FP8_1: Goal =
    at_most("projected error, `fp8`, ‖E‖ ≤ +1 %", Some(0.50), Some(0.40));
pub(crate) const FP8_4: Goal =
    at_most("projected error, `fp8`, ‖E‖ ≤ +4 %", Some(0.10), Some(0.05));
pub(crate) const INT8_ROW_1: Goal =
    at_most("projected error, `int8-row`, ‖E‖ ≤ +1 %", Some(0.50), Some(0.40));
pub(crate) const INT8_ROW_4: Goal =
    at_most("projected error, `int8-row`, ‖E‖ ≤ +4 %", Some(0.16), Some(0.10));
pub(crate) const FP8_BLOCK_4: Goal =
    at_most("projected error, `fp8-block-128`, ‖E‖ ≤ +4 %", Some(0.20), Some(0.10));
pub(crate) const INT8_BLOCK_4: Goal =
    at_most("projected error, `int8-block-128`, ‖E‖ ≤ +4 %", Some(0.20), Some(0.10));

// The same with rows of several sizes. Exact coordinate descent with λ from 3 downwards reaches 0.45 at +1 %.
pub(crate) const SCALED_1: Goal =
    at_most("projected error, `fp8`, rows of several sizes, ‖E‖ ≤ +1 %", Some(0.50), None);
pub(crate) const SCALED_4: Goal =
    at_most("projected error, `fp8`, rows of several sizes, ‖E‖ ≤ +4 %", Some(0.06), None);

// 3072×12288, k = 64.
pub(crate) const WIDE_FP8_ENERGY: Goal =
    at_most("projected error², `fp8`, k = 64, ‖E‖² ≤ +1 %", Some(1e-3), None);
pub(crate) const WIDE_INT8_ENERGY: Goal =
    at_most("projected error², `int8-row`, k = 64, ‖E‖² ≤ +1 %", Some(1e-3), None);
pub(crate) const WIDE_FP8_BOUND: Goal =
    at_most("objective over the bound of one pass, `fp8`, k = 64", None, Some(1.01));
pub(crate) const WIDE_INT8_BOUND: Goal =
    at_most("objective over the bound of one pass, `int8-row`, k = 64", None, Some(1.01));

// 3072×3072, k = 614, a whole matrix on two cores.
pub(crate) const FAST_SPEED: Goal =
    at_least("`fast`, times faster than convert-to-quant, 500 iterations", Some(50.0), Some(200.0));
pub(crate) const FAST_ERROR: Goal = at_most("`fast`, projected error", Some(0.6), None);
pub(crate) const NORMAL_SPEED: Goal = at_least(
    "`normal`, times faster than convert-to-quant, 500 iterations",
    Some(15.0),
    Some(60.0),
);
pub(crate) const NORMAL_ERROR: Goal =
    at_most("`normal`, projected error, ‖E‖ ≤ +3 %", Some(0.3), None);

/// At the residual that torch.svd_lowrank leaves, or less.
pub(crate) const SEARCH: Goal =
    at_most("614 singular vectors of 3072 × 3072, seconds", Some(0.6), Some(0.35));
pub(crate) const SQUARE_PRODUCT: Goal =
    at_least("product of 3072³, speed over torch", Some(1.7), None);
pub(crate) const THIN_PRODUCTS: Goal =
    at_least("slowest thin product, speed over torch", Some(1.7), None);

// Peak of the process over that of one with nothing to do, in F32 copies of the matrix.
pub(crate) const SQUARE_MEMORY: Goal =
    at_most("memory for 3072 × 3072, k = 614, F32 copies", Some(4.0), None);
pub(crate) const WIDE_MEMORY: Goal =
    at_most("memory for 3072 × 12288, k = 64, F32 copies", Some(4.0), None);

/// All of them, in the order of the report.
pub(crate) const ALL: [&Goal; 21] = [
    &FP8_1,
    &FP8_4,
    &INT8_ROW_1,
    &INT8_ROW_4,
    &FP8_BLOCK_4,
    &INT8_BLOCK_4,
    &SCALED_1,
    &SCALED_4,
    &WIDE_FP8_ENERGY,
    &WIDE_FP8_BOUND,
    &WIDE_INT8_ENERGY,
    &WIDE_INT8_BOUND,
    &FAST_SPEED,
    &FAST_ERROR,
    &NORMAL_SPEED,
    &NORMAL_ERROR,
    &SEARCH,
    &SQUARE_PRODUCT,
    &THIN_PRODUCTS,
    &SQUARE_MEMORY,
    &WIDE_MEMORY,
];
