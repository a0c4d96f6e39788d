use pulp::NullaryFnOnce;

use crate::vectors;

/// Largest magnitude of `values`; 0 for an empty slice.
///
/// Infinity when one is infinite, NaN when one is NaN, so one check of the result finds every
/// value that cannot be encoded.
pub fn absmax(values: &[f32]) -> f32 {
    vectors::run(Absmax(values))
}

struct Absmax<'a>(&'a [f32]);

impl NullaryFnOnce for Absmax<'_> {
    type Output = f32;

    /// Without the sign, f32 bits order as whole numbers: finite, then infinity, then NaN.
    #[inline(always)]
    fn call(self) -> f32 {
        let magnitude = |value: &f32| value.to_bits() & !(1 << 31);
        f32::from_bits(self.0.iter().map(magnitude).fold(0, u32::max))
    }
}
