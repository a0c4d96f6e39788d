//! Matrices of any shape and kind, with schemes that cover them.

use proptest::prelude::*;
use roundwise_scheme::{
    CATALOG, FloatDtype, GridKind, QuantizedMatrix, Rotation, ScaleRule, Scheme, Tiling, Weight,
};
use roundwise_testkit::files::{bf16_bytes, f16_bytes, f32_bytes};
use roundwise_testkit::random::Random;
use roundwise_testkit::weights::{
    Matrix, constant, gaussian, one_huge, subnormals, with_outliers, with_zero_rows,
    with_zero_tiles,
};

/// Enough to meet every generator with every grid and tiling, in under a second.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() }
}

/// A matrix as it would lie in a file, and a scheme whose tiles cover it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) scheme: Scheme,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) kind: FloatDtype,
    pub(crate) bytes: Vec<u8>,
}

impl Case {
    pub(crate) fn new(scheme: Scheme, kind: FloatDtype, matrix: &Matrix) -> Self {
        let Matrix { rows, cols, ref values } = *matrix;
        Self { scheme, rows, cols, kind, bytes: bytes_of(kind, values) }
    }

    pub(crate) fn weight(&self) -> Weight<'_> {
        Weight::new(self.rows, self.cols, self.kind, &self.bytes).unwrap()
    }

    pub(crate) fn nearest(&self) -> QuantizedMatrix {
        self.nearest_by(ScaleRule::Absmax)
    }

    pub(crate) fn nearest_by(&self, rule: ScaleRule) -> QuantizedMatrix {
        QuantizedMatrix::nearest(&self.weight(), self.scheme, rule).unwrap()
    }

    /// The weight's numbers, after rounding to what the file stores.
    pub(crate) fn matrix(&self) -> Matrix {
        Matrix { rows: self.rows, cols: self.cols, values: self.weight().to_f32() }
    }

    /// The numbers that codes stand for: rotated ones, where the scheme rotates.
    pub(crate) fn seen(&self) -> Matrix {
        let values = self.weight().seen_by(self.scheme).to_f32();
        Matrix { values, ..self.matrix() }
    }

    /// Whether the scale of each tile can be any F32 number.
    pub(crate) fn has_free_scales(&self) -> bool {
        let scaled = Scheme::scaled(self.scheme.grid(), self.scheme.tiling());
        self.scheme == scaled || self.scheme.rotation().is_some() && !self.scheme.has_levels()
    }

    /// Which scale a weight has, straight from the definition of a tiling.
    pub(crate) fn tile(&self, row: usize, col: usize) -> usize {
        match self.scheme.tiling() {
            Tiling::Tensor => 0,
            Tiling::Row => row,
            Tiling::Block { rows, cols } => row / rows * self.cols.div_ceil(cols) + col / cols,
        }
    }
}

fn bytes_of(kind: FloatDtype, values: &[f32]) -> Vec<u8> {
    match kind {
        FloatDtype::F64 => {
            values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect()
        }
        FloatDtype::F32 => f32_bytes(values),
        FloatDtype::F16 => f16_bytes(values),
        FloatDtype::BF16 => bf16_bytes(values),
    }
}

pub(crate) fn any_kind() -> impl Strategy<Value = FloatDtype> {
    prop::sample::select(vec![FloatDtype::F64, FloatDtype::F32, FloatDtype::F16, FloatDtype::BF16])
}

fn any_grid() -> impl Strategy<Value = GridKind> {
    prop::sample::select(vec![GridKind::E4m3, GridKind::E5m2, GridKind::Int4, GridKind::Int8])
}

/// A scheme and a shape that its tiles cover.
pub(crate) fn any_covered_shape() -> impl Strategy<Value = (Scheme, [usize; 2])> {
    let whole = prop::sample::select(vec![Tiling::Tensor, Tiling::Row]);
    let whole = (any_grid(), whole, 1usize..40, 1usize..70)
        .prop_map(|(grid, tiling, rows, cols)| (Scheme::scaled(grid, tiling), [rows, cols]));
    let blocks = (any_grid(), 1usize..9, 1usize..20, 1usize..5, 1usize..5).prop_map(
        |(grid, rows, cols, down, across)| {
            let tiling = Tiling::Block { rows, cols };
            (Scheme::scaled(grid, tiling), [rows * down, cols * across])
        },
    );
    let rotated =
        (any_grid(), 1usize..4, 1usize..20, 1usize..40).prop_map(|(grid, power, rows, groups)| {
            let rotation = Rotation::up_to(4usize.pow(power as u32)).unwrap();
            (Scheme::rotated(grid, Tiling::Row, rotation), [rows, 4 * groups])
        });
    let powers = (any_grid(), 1usize..9, 1usize..20, 1usize..5, 1usize..5).prop_map(
        |(grid, rows, cols, down, across)| {
            let tiling = Tiling::Block { rows, cols };
            (Scheme::scaled_by_powers(grid, tiling), [rows * down, cols * across])
        },
    );
    let two_level = prop::sample::select(vec![Scheme::MXFP8, Scheme::NVFP4]);
    let narrow = (two_level, 1usize..10, 1usize..100).prop_map(|(scheme, r, c)| (scheme, [r, c]));
    let one_byte = CATALOG
        .iter()
        .filter(|entry| entry.scheme.grid().code_bytes() == 1 && entry.scheme.has_free_codes());
    let named = prop::sample::select(one_byte.collect::<Vec<_>>()).prop_map(|entry| {
        let [rows, cols] = match entry.scheme.tiling() {
            Tiling::Block { rows, cols } if !entry.scheme.has_block_scales() => [rows, 2 * cols],
            _ => [1, 16],
        };
        (entry.scheme, [rows, cols])
    });
    prop_oneof![8 => whole, 8 => blocks, 4 => rotated, 4 => powers, 8 => narrow, 2 => named]
}

/// Finite numbers of every size that an F32 has, zeros among them.
pub(crate) fn any_matrix(rows: usize, cols: usize) -> impl Strategy<Value = Matrix> {
    (0..10, any::<u64>()).prop_map(move |(generator, seed)| match generator {
        0 => with_outliers(rows, cols, seed),
        1 => with_zero_rows(rows, cols, seed),
        2 => with_zero_tiles(rows, cols, 4, seed),
        3 => subnormals(rows, cols, seed),
        4 => one_huge(rows, cols, seed),
        5 => constant(rows, cols, f32::MAX),
        6 => gaussian(rows, cols, seed).map(|_, _, value| value * 1e-10),
        7 => all_bits(rows, cols, seed),
        8 => constant(rows, cols, -0.0),
        _ => gaussian(rows, cols, seed),
    })
}

fn all_bits(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    Matrix::from_fn(rows, cols, |_, _| random.finite_f32())
}

/// Any weight that can be quantized.
pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    (any_covered_shape(), any_kind()).prop_flat_map(|((scheme, [rows, cols]), kind)| {
        any_matrix(rows, cols).prop_map(move |matrix| {
            let largest = match kind {
                FloatDtype::F64 | FloatDtype::F32 => f32::MAX,
                FloatDtype::F16 => 65504.0,
                FloatDtype::BF16 => f32::from_bits(0x7F7F_0000),
            };
            // Sums of a rotation may leave f32.
            let is_bounded = scheme.rotation().is_some();
            let largest = if is_bounded { largest.min(1e30) } else { largest };
            // Weights that no scale brings into the range of the codes would be cut off.
            let largest = match (scheme.has_scales(), scheme.log_range()) {
                (false, _) => largest.min(scheme.grid().max()),
                (true, Some(_)) => largest.min(1e6),
                (true, None) => largest,
            };
            let matrix = matrix.map(|_, _, value| value.clamp(-largest, largest));
            Case::new(scheme, kind, &matrix)
        })
    })
}

/// Weights of an ordinary size with zeros and outliers, as F32: powers of two of them stay
/// normal numbers, and no tile lies near the limit below which it counts as zero.
pub(crate) fn any_ordinary_case() -> impl Strategy<Value = Case> {
    (any_covered_shape(), 0..4, any::<u64>()).prop_map(
        |((scheme, [rows, cols]), generator, seed)| {
            let matrix = match generator {
                0 => with_outliers(rows, cols, seed),
                1 => with_zero_rows(rows, cols, seed),
                2 => with_zero_tiles(rows, cols, 4, seed),
                _ => gaussian(rows, cols, seed),
            };
            // Sums of uniform numbers may come close to 0; such a tile would be too small.
            let matrix = matrix.map(|_, _, value| if value.abs() < 1e-6 { 0.0 } else { value });
            Case::new(scheme, FloatDtype::F32, &matrix)
        },
    )
}
