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
    vectors::run(EncodeMeasured::<G> { values, scales: Scales::One(scale), codes })
}

/// Encodes and measures as [`encode_measured`] does, with a scale for every value.
///
/// # Panics
/// When the lengths differ.
pub fn encode_measured_each<G: Grid>(
    values: &[f32],
    scales: &[f32],
    codes: &mut [G::Code],
) -> Squares {
    assert!(values.len() == scales.len() && values.len() == codes.len(), "a scale per value");
    vectors::run(EncodeMeasured::<G> { values, scales: Scales::Each(scales), codes })
}

/// Returns the sums of [`encode_measured`] for codes that exist already.
///
/// # Panics
/// When the lengths differ.
pub fn measure<G: Grid>(values: &[f32], scale: f32, codes: &[G::Code]) -> Squares {
    assert_eq!(values.len(), codes.len(), "as many results as values");
    vectors::run(Measure::<G> { values, scales: Scales::One(scale), codes })
}

/// Measures as [`measure`] does, with a scale for every value.
///
/// # Panics
/// When the lengths differ.
pub fn measure_each<G: Grid>(values: &[f32], scales: &[f32], codes: &[G::Code]) -> Squares {
    assert!(values.len() == scales.len() && values.len() == codes.len(), "a scale per value");
    vectors::run(Measure::<G> { values, scales: Scales::Each(scales), codes })
}

/// Partial sums; value `i` is added to sum `i % 64`.
const LANES: usize = 64;

/// Partial sums that stay in registers along a part of the values: few enough for those of AVX2, and whole
/// vectors of AVX-512.
const GROUP: usize = 16;

/// Values that are decoded, and then measured from the first-level cache.
const PART: usize = 8 * LANES;

/// Scales of some values.
#[derive(Clone, Copy)]
pub(crate) enum Scales<'a> {
    One(f32),
    Each(&'a [f32]),
}

/// Scales for every value of a part. One for all is repeated, so that it takes the same loop.
struct PartScales<'a> {
    scales: Scales<'a>,
    same: [f32; PART],
}

impl<'a> PartScales<'a> {
    #[inline(always)]
    fn of(scales: Scales<'a>) -> Self {
        let same = match scales {
            Scales::One(scale) => [scale; PART],
            Scales::Each(_) => [1.0; PART],
        };
        Self { scales, same }
    }

    #[inline(always)]
    fn part(&self, part: usize, length: usize) -> &[f32] {
        match self.scales {
            Scales::One(_) => &self.same[..length],
            Scales::Each(scales) => &scales[part * PART..][..length],
        }
    }
}

pub(crate) struct EncodeMeasured<'a, G: Grid> {
    pub(crate) values: &'a [f32],
    pub(crate) scales: Scales<'a>,
    pub(crate) codes: &'a mut [G::Code],
}

impl<G: Grid> NullaryFnOnce for EncodeMeasured<'_, G> {
    type Output = Squares;

    #[inline(always)]
    fn call(self) -> Squares {
        let mut sums = Sums::new();
        let scales = PartScales::of(self.scales);
        let mut decoded = [0.0; PART];
        let parts = self.values.chunks(PART).zip(self.codes.chunks_mut(PART));
        for (part, (values, codes)) in parts.enumerate() {
            let decoded = &mut decoded[..values.len()];
            let cells = values.iter().zip(scales.part(part, values.len()));
            for (((value, scale), code), decoded) in cells.zip(codes).zip(&mut *decoded) {
                // The rounded value is what the code decodes to, for less.
                let (nearest, rounded) = G::encode_round(value / scale);
                *code = nearest;
                *decoded = rounded * scale;
            }
            sums.add(values, decoded);
        }
        sums.total()
    }
}

struct Measure<'a, G: Grid> {
    values: &'a [f32],
    scales: Scales<'a>,
    codes: &'a [G::Code],
}

impl<G: Grid> NullaryFnOnce for Measure<'_, G> {
    type Output = Squares;

    #[inline(always)]
    fn call(self) -> Squares {
        let mut sums = Sums::new();
        let scales = PartScales::of(self.scales);
        let mut decoded = [0.0; PART];
        let parts = self.values.chunks(PART).zip(self.codes.chunks(PART));
        for (part, (values, codes)) in parts.enumerate() {
            let decoded = &mut decoded[..values.len()];
            let cells = codes.iter().zip(scales.part(part, values.len()));
            for ((code, scale), decoded) in cells.zip(&mut *decoded) {
                *decoded = G::decode(*code) * scale;
            }
            sums.add(values, decoded);
        }
        sums.total()
    }
}

struct Sums {
    error: [f64; LANES],
    value: [f64; LANES],
}

impl Sums {
    fn new() -> Sums {
        Sums { error: [0.0; LANES], value: [0.0; LANES] }
    }

    /// Adds values and what they are decoded to, beginning with the first sum.
    ///
    /// - `decoded`: products rounded to f32, as a reader rounds them; only the differences get more digits
    #[inline(always)]
    fn add(&mut self, values: &[f32], decoded: &[f32]) {
        let (whole, values_rest) = values.as_chunks::<LANES>();
        let (whole_decoded, decoded_rest) = decoded.as_chunks::<LANES>();
        let groups = self.error.as_chunks_mut::<GROUP>().0.iter_mut();
        let groups = groups.zip(self.value.as_chunks_mut::<GROUP>().0);
        for (group, (error_sums, value_sums)) in groups.enumerate() {
            let (mut errors, mut squares) = (*error_sums, *value_sums);
            for (values, decoded) in whole.iter().zip(whole_decoded) {
                let values = &values.as_chunks::<GROUP>().0[group];
                let decoded = &decoded.as_chunks::<GROUP>().0[group];
                add(&mut errors, &mut squares, values, decoded);
            }
            (*error_sums, *value_sums) = (errors, squares);
        }
        // The rest goes to the first sums, so that value `i` is in sum `i % 64` whatever the length.
        add(&mut self.error, &mut self.value, values_rest, decoded_rest);
    }

    fn total(&self) -> Squares {
        Squares { error: tree(self.error), value: tree(self.value) }
    }
}

/// Adds up to one value to each sum.
#[inline(always)]
fn add(error_sums: &mut [f64], value_sums: &mut [f64], values: &[f32], decoded: &[f32]) {
    let sums = error_sums.iter_mut().zip(value_sums);
    for ((error_sum, value_sum), (value, decoded)) in sums.zip(values.iter().zip(decoded)) {
        let value = f64::from(*value);
        let error = f64::from(*decoded) - value;
        *error_sum += error * error;
        *value_sum += value * value;
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
