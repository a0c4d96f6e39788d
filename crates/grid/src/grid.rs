use crate::{Code, GridKind};

/// A grid as a type, so that inner loops are compiled for one grid.
///
/// Every function is branch-free and inlined, so that a plain loop over slices becomes vector
/// code (inside [`vectorized`](crate::vectorized), for the widest vectors of the CPU).
///
/// Values are in grid units: a weight divided by its scale.
pub trait Grid: Copy + Default + Send + Sync + 'static {
    /// One value's bits: `u8` for 4- and 8-bit grids, `u16` for 16-bit ones.
    type Code: Code;

    /// The grid as a value.
    const KIND: GridKind;

    /// Largest magnitude: 6 for E2M1, 448 for E4M3, 57344 for E5M2, 7 for INT4, 127 for INT8, 65504
    /// for F16 and about 3.39e38 for BF16.
    const MAX: f32;

    /// Returns the code of the nearest grid value.
    ///
    /// `nearest_even(clamp(value, −MAX, MAX))`: infinities saturate, ties go to the even code, and
    /// whatever rounds to zero, −0 included, gets code 0. NaN is a bug of the caller (refuse it
    /// with [`absmax`](crate::absmax)); it also gets code 0.
    fn encode(value: f32) -> Self::Code;

    /// Encodes a value given as BF16 bits, in which many models are stored.
    fn encode_bf16(bits: u16) -> Self::Code;

    /// Returns the value of a code. All codes of the format are understood: those that
    /// [`encode`](Grid::encode) never writes give NaN, ±∞, −0, −128 or −8.
    fn decode(code: Self::Code) -> f32;

    /// Rounds to the nearest grid value: `decode(encode(value))`, without making the code.
    fn round(value: f32) -> f32;

    /// Encodes and rounds at once: `(encode(value), round(value))`.
    #[inline(always)]
    fn encode_round(value: f32) -> (Self::Code, f32) {
        (Self::encode(value), Self::round(value))
    }

    /// Returns the next larger grid value of a grid value; `MAX` stays `MAX`. Never −0.
    fn above(value: f32) -> f32;

    /// Returns the next smaller grid value of a grid value; `−MAX` stays `−MAX`. Never −0.
    fn below(value: f32) -> f32;

    /// Returns the distance between neighbouring grid values in the binade of `value`.
    ///
    /// Any finite value, on the grid or not; past `MAX` the step at `MAX`. At ±2^e, where the step
    /// doubles, it is the one on the side away from zero.
    fn step(value: f32) -> f32;

    /// Tells whether a code stands for a number: false for the codes of NaN and infinity, for
    /// INT8's −128, INT4's −8, and for bytes past the 16 codes of a 4-bit grid.
    fn is_finite_code(code: Self::Code) -> bool;
}
