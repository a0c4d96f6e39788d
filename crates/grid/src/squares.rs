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

/// Encodes as [`encode_scaled`](crate::encode_scaled) does and measures the codes, reading `values`
/// once.
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
    assert_eq!(values.len(), codes.len(), "as many results as values");
    vectors::run(EncodeMeasured::<G> { values, scale, codes })
}

/// Returns the sums of [`encode_measured`] for codes that exist already.
///
/// # Panics
/// When the lengths differ.
pub fn measure<G: Grid>(values: &[f32], scale: f32, codes: &[G::Code]) -> Squares {
    assert_eq!(values.len(), codes.len(), "as many results as values");
    vectors::run(Measure::<G> { values, scale, codes })
}

/// Partial sums; value `i` is added to sum `i % 64`. Many enough that the loop over them becomes
/// vectors: a shorter one is unrolled instead, and comes out several times slower.
const LANES: usize = 64;

pub(crate) struct EncodeMeasured<'a, G: Grid> {
    pub(crate) values: &'a [f32],
    pub(crate) scale: f32,
    pub(crate) codes: &'a mut [G::Code],
}

impl<G: Grid> NullaryFnOnce for EncodeMeasured<'_, G> {
    type Output = Squares;

    #[inline(always)]
    fn call(self) -> Squares {
        let mut sums = Sums::new();
        // As many scales as values, so that sums with one scale and with many are those of one
        // function, to the last bit.
        let scales = [self.scale; LANES];
        let (values, values_rest) = self.values.as_chunks::<LANES>();
        let (codes, codes_rest) = self.codes.as_chunks_mut::<LANES>();
        for (values, codes) in values.iter().zip(codes) {
            encode::<G>(values, self.scale, codes);
            sums.add::<G>(values, &scales, codes);
        }
        // The rest goes to the first sums, so that value `i` is in sum `i % 64` whatever the
        // length.
        encode::<G>(values_rest, self.scale, codes_rest);
        sums.add::<G>(values_rest, &scales, codes_rest);
        sums.total()
    }
}

#[inline(always)]
fn encode<G: Grid>(values: &[f32], scale: f32, codes: &mut [G::Code]) {
    for (value, code) in values.iter().zip(codes) {
        *code = G::encode(value / scale);
    }
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
        let mut sums = Sums::new();
        let scales = [self.scale; LANES];
        let (values, values_rest) = self.values.as_chunks::<LANES>();
        let (codes, codes_rest) = self.codes.as_chunks::<LANES>();
        for (values, codes) in values.iter().zip(codes) {
            sums.add::<G>(values, &scales, codes);
        }
        sums.add::<G>(values_rest, &scales, codes_rest);
        sums.total()
    }
}

pub(crate) struct Sums {
    error: [f64; LANES],
    value: [f64; LANES],
}

impl Sums {
    pub(crate) const LANES: usize = LANES;

    pub(crate) fn new() -> Sums {
        Sums { error: [0.0; LANES], value: [0.0; LANES] }
    }

    /// Adds up to one value to each sum, beginning with the first.
    #[inline(always)]
    pub(crate) fn add<G: Grid>(&mut self, values: &[f32], scales: &[f32], codes: &[G::Code]) {
        let cells = values.iter().zip(codes).zip(scales);
        for ((error_sum, value_sum), ((&value, &code), &scale)) in
            self.error.iter_mut().zip(&mut self.value).zip(cells)
        {
            // The product is rounded to f32 as a reader rounds it; only then does the difference
            // get more digits.
            let error = f64::from(G::decode(code) * scale) - f64::from(value);
            *error_sum += error * error;
            *value_sum += f64::from(value) * f64::from(value);
        }
    }

    pub(crate) fn total(&self) -> Squares {
        Squares { error: tree(self.error), value: tree(self.value) }
    }
}

/// Adds the upper half to the lower half until one is left.
fn tree(mut lanes: [f64; LANES]) -> f64 {
    // A fixed tree: the order of additions does not follow the width of the CPU's vectors.
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}
