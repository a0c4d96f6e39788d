/// Powers of two as one byte: code `e` stands for `2^(e − 127)`. A grid of scales, not of weights:
/// it has neither a sign nor a zero.
///
/// Code 255 is NaN. Code 0 stands for 2⁻¹²⁷ by the specification, but readers of quantized weights
/// take it for a scale of 0; it is never the code of a scale here, see
/// [`at_least`](E8m0::at_least).
///
/// # Source
/// OCP microscaling specification, revision 1.0, section 5.4.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct E8m0;

const MANTISSA_BITS: u32 = 23;

impl E8m0 {
    /// Code of 1.
    pub const ONE: u8 = 127;

    /// Code of the largest scale, 2¹²⁷.
    pub const LARGEST: u8 = 254;

    /// Returns the smallest power of two that is not below `value`, `None` where that is less than
    /// 2⁻¹²⁶, the smallest one that all readers agree on. Past 2¹²⁷ it is 2¹²⁷.
    ///
    /// - `value`: finite, 0 or above
    ///
    /// Counted in exponent bits: a logarithm is a few units off just above a power of two.
    #[inline(always)]
    pub fn at_least(value: f32) -> Option<u8> {
        let bits = value.to_bits();
        let has_mantissa = bits & ((1 << MANTISSA_BITS) - 1) != 0;
        let code = (bits >> MANTISSA_BITS) + u32::from(has_mantissa);
        // A subnormal number has exponent bits 0 and lies below 2⁻¹²⁶.
        let is_tiny = value < f32::MIN_POSITIVE;
        (!is_tiny).then_some(code.min(u32::from(Self::LARGEST)) as u8)
    }

    /// Returns the value of a code; 0 for code 0 and NaN for code 255.
    #[inline(always)]
    pub fn decode(code: u8) -> f32 {
        if code == u8::MAX {
            return f32::NAN;
        }
        // Code 0 comes out as 0, which is what readers take it for.
        f32::from_bits(u32::from(code) << MANTISSA_BITS)
    }

    /// Returns the code of a power of two from 2⁻¹²⁶ to 2¹²⁷, `None` for any other number.
    #[inline(always)]
    pub fn encode(value: f32) -> Option<u8> {
        let bits = value.to_bits();
        let is_power = bits & ((1 << MANTISSA_BITS) - 1) == 0;
        let code = bits >> MANTISSA_BITS; // the sign would make it 256 or more
        (is_power && (1..=u32::from(Self::LARGEST)).contains(&code)).then_some(code as u8)
    }
}
