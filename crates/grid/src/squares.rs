use pulp::NullaryFnOnce;

use crate::{Grid, vectors};

/// Sums of squares over some values: of the values, and of what encoding did to them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Squares {
    /// Σ (decoded − value)², in squared model units.
    pub error: f64,
    /// Σ value², in squared model units.
    pub value: f64,
}

/// Partial sums, value `i` going to number `i % 16`: two AVX-512 registers of f64.
const LANES: usize = 16;

/// [`encode_scaled`](crate::encode_scaled) that measures what it writes, reading `values` once.
///
/// - `scale`: model units per grid unit, finite and above 0
/// - returns the sums over all values of the *stored* codes:
///   `error = Σ (decode(codes[i]) · scale − values[i])²`
///
/// The product is taken in f32, as readers of the file do; the rest in f64. Values are added in an
/// order that does not depend on the CPU, so the same input gives the same bits everywhere.
///
/// # Panics
/// When the lengths differ.
pub fn encode_measured<G: Grid>(values: &[f32], scale: f32, codes: &mut [G::Code]) -> Squares {
    crate::encode_scaled::<G>(values, scale, codes);
    measure::<G>(values, scale, codes)
}

/// The sums of [`encode_measured`] for codes that exist already.
///
/// # Panics
/// When the lengths differ.
pub fn measure<G: Grid>(values: &[f32], scale: f32, codes: &[G::Code]) -> Squares {
    assert_eq!(values.len(), codes.len(), "one code per value");
    vectors::run(Measure::<G> { values, scale, codes })
}

struct Measure<'a, G: Grid> {
    values: &'a [f32],
    scale: f32,
    codes: &'a [G::Code],
}

impl<G: Grid> NullaryFnOnce for Measure<'_, G> {
    type Output = Squares;

    #[inline(always)]
    fn call(self) -> Squares {
        let mut sums = Sums::default();
        let (values, values_rest) = self.values.as_chunks::<LANES>();
        let (codes, codes_rest) = self.codes.as_chunks::<LANES>();
        for (values, codes) in values.iter().zip(codes) {
            for lane in 0..LANES {
                sums.add(lane, values[lane], G::decode(codes[lane]) * self.scale);
            }
        }
        for (lane, (&value, &code)) in values_rest.iter().zip(codes_rest).enumerate() {
            sums.add(lane, value, G::decode(code) * self.scale);
        }
        sums.total()
    }
}

#[derive(Default)]
struct Sums {
    error: [f64; LANES],
    value: [f64; LANES],
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, lane: usize, value: f32, decoded: f32) {
        let difference = f64::from(decoded) - f64::from(value);
        self.error[lane] += difference * difference;
        self.value[lane] += f64::from(value) * f64::from(value);
    }

    #[inline(always)]
    fn total(&self) -> Squares {
        Squares { error: tree(self.error), value: tree(self.value) }
    }
}

/// Adds the upper half to the lower half until one is left.
#[inline(always)]
fn tree(mut lanes: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}
