use pulp::NullaryFnOnce;

use crate::map::{BLOCK, PLACES, RUN, STRIDE};
use crate::vectors;

/// Returns the largest magnitude of `values`; 0 for an empty slice.
///
/// Infinity when one is infinite, NaN when one is NaN, so one check of the result finds every
/// value that cannot be encoded.
pub fn absmax(values: &[f32]) -> f32 {
    vectors::run(Absmax(values))
}

struct Absmax<'a>(&'a [f32]);

impl NullaryFnOnce for Absmax<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let (blocks, rest) = self.0.as_chunks::<BLOCK>();
        // Magnitudes as bits: `f32::max` would pass over a NaN, which has to be found.
        let mut largest = [0; RUN];
        for block in blocks {
            add_block(&mut largest, block);
        }
        let largest = largest.into_iter().fold(0, u32::max);
        f32::from_bits(rest.iter().map(magnitude_bits).fold(largest, u32::max))
    }
}

#[inline(always)]
fn add_block(largest: &mut [u32; RUN], block: &[f32; BLOCK]) {
    // At several places in turn, see `PLACES`: a maximum is the same in any order.
    for start in (0..STRIDE).step_by(RUN) {
        for place in 0..PLACES {
            let at = place * STRIDE + start;
            for (largest, value) in largest.iter_mut().zip(&block[at..at + RUN]) {
                *largest = magnitude_bits(value).max(*largest);
            }
        }
    }
}

/// Returns the bits without the sign. They order as whole numbers: finite, then infinity, then NaN.
#[inline(always)]
fn magnitude_bits(value: &f32) -> u32 {
    value.to_bits() & !(1 << 31)
}
