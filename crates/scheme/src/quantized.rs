use std::ops::Range;

use roundwise_grid::{Code, Grid, GridVisitor, decode_each, decode_scaled};

use crate::error::SchemeError;
use crate::rotation::rotate;
use crate::scales::Scales;
use crate::scheme::Scheme;
use crate::storage::{LEVEL_GROUP, Levels, ScaleRole, StoredScales, code_range};
use crate::tiling::{Tiling, spread};

/// A matrix `[rows, cols]` as codes and scales, of the rotated matrix where the scheme rotates.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatrix {
    scheme: Scheme,
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Scales,
    /// Which levels 4-bit codes stand for, where the scheme has levels.
    levels: Option<Levels>,
}

/// Codes and scales that were read or chosen, not checked against a shape.
pub(crate) struct StoredMatrix {
    pub(crate) codes: Vec<u8>,
    pub(crate) scales: Scales,
    pub(crate) levels: Option<Levels>,
}

impl QuantizedMatrix {
    /// Takes codes and scales that were stored.
    ///
    /// - `codes`: `rows · cols` little-endian codes, row-major, a byte for each that is shorter
    /// - `scales`: one per tile, row-major over tiles, multiplied on decoding; a vector will do
    ///   where they share no factor
    ///
    /// # Errors
    /// [`SchemeError::PartLength`] when either does not fit the shape, or the codes stand for
    /// levels, which [`QuantizedMatrix::from_stored`] takes. Ragged last blocks are accepted here:
    /// other programs write them.
    pub fn from_parts(
        scheme: Scheme,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales: impl Into<Scales>,
    ) -> Result<Self, SchemeError> {
        if scheme.has_levels() {
            let expected = shape[0].saturating_mul(shape[1] / LEVEL_GROUP);
            return Err(SchemeError::PartLength { what: "scales of groups", found: 0, expected });
        }
        let stored = StoredMatrix { codes, scales: scales.into(), levels: None };
        Self::from_stored_matrix(scheme, shape, stored)
    }

    /// Takes codes and scales as a file holds them: the inverse of
    /// [`into_stored_codes`](Self::into_stored_codes) and [`stored_scales`](Self::stored_scales).
    ///
    /// - `codes`: as in [`QuantizedMatrix::from_parts`]; those of levels are 4-bit ones
    /// - `scales`: by their role; a missing factor of all scales is 1, a missing table of levels is
    ///   evenly spaced, and codes that are values by themselves need no scale
    ///
    /// Codes of a tile whose scale is a byte 0 become 0, whatever they are: that is what readers
    /// make of them.
    ///
    /// # Errors
    /// [`SchemeError::PartLength`] when a part does not fit the shape; of levels also
    /// [`SchemeError::Ragged`], and [`SchemeError::Levels`] for a table that does not ascend.
    pub fn from_stored(
        scheme: Scheme,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<Self, SchemeError> {
        let stored = scheme.storage().read(shape, codes, scales)?;
        Self::from_stored_matrix(scheme, shape, stored)
    }

    /// Puts a matrix together whose codes and scales fit its shape.
    pub(crate) fn from_stored_matrix(
        scheme: Scheme,
        [rows, cols]: [usize; 2],
        StoredMatrix { codes, scales, levels }: StoredMatrix,
    ) -> Result<Self, SchemeError> {
        let code_bytes = scheme.grid().code_bytes();
        // A shape from a file may multiply to more than there is; no length of codes then fits.
        let expected = rows
            .checked_mul(cols)
            .and_then(|count| count.checked_mul(code_bytes))
            .unwrap_or(usize::MAX);
        if codes.len() != expected {
            return Err(SchemeError::PartLength { what: "codes", found: codes.len(), expected });
        }
        let expected = scheme.tiling().tiles(rows, cols).iter().product();
        let found = scales.tiles.len();
        if found != expected {
            return Err(SchemeError::PartLength { what: "scales", found, expected });
        }
        let expected = if scheme.has_zero_points() { expected } else { 0 };
        let found = scales.zeros.len();
        if found != expected {
            return Err(SchemeError::PartLength { what: "zero points", found, expected });
        }
        Ok(Self { scheme, rows, cols, codes, scales, levels })
    }

    /// Returns a matrix with these scales and other codes.
    ///
    /// # Errors
    /// As [`QuantizedMatrix::from_parts`].
    pub fn with_codes(&self, codes: Vec<u8>) -> Result<Self, SchemeError> {
        let (scales, levels) = (self.scales.clone(), self.levels.clone());
        let stored = StoredMatrix { codes, scales, levels };
        Self::from_stored_matrix(self.scheme, self.shape(), stored)
    }

    /// Returns some of its rows, with the scales of their tiles.
    ///
    /// # Panics
    /// When `rows` are out of range, cut through a tile that is smaller than the matrix, or stand for
    /// levels.
    #[must_use]
    pub fn row_range(&self, rows: Range<usize>) -> Self {
        assert!(self.levels.is_none(), "codes that are values");
        assert!(self.scheme.tiling().cuts_at(rows.start, self.shape()), "whole tiles");
        let row_bytes = self.cols * self.scheme.grid().code_bytes();
        let codes = self.codes[rows.start * row_bytes..rows.end * row_bytes].to_vec();
        let tiling = self.scheme.tiling();
        let tiles = match tiling {
            // The one scale is that of the whole matrix, and of every part of it.
            Tiling::Tensor => self.scales.tiles.clone(),
            Tiling::Row | Tiling::Block { .. } => {
                let first = tiling.first_tile(rows.start, self.shape());
                let count: usize = tiling.tiles(rows.len(), self.cols).iter().product();
                self.scales.tiles[first..first + count].to_vec()
            }
        };
        let zeros = match self.scales.zeros.is_empty() {
            true => vec![],
            false => {
                let first = tiling.first_tile(rows.start, self.shape());
                self.scales.zeros[first..first + tiles.len()].to_vec()
            }
        };
        let scales = Scales { tiles, tensor: self.scales.tensor, zeros };
        let stored = StoredMatrix { codes, scales, levels: None };
        Self::from_stored_matrix(self.scheme, [rows.len(), self.cols], stored)
            .expect("codes and scales of these rows")
    }

    /// Puts matrices below each other that [`row_range`](Self::row_range) cut out of one.
    ///
    /// # Panics
    /// When there are none, or they differ in scheme or columns.
    #[must_use]
    pub fn stacked(parts: &[Self]) -> Self {
        let first = parts.first().expect("a matrix");
        let rows = parts.iter().map(|part| part.rows).sum();
        let codes = parts.iter().flat_map(|part| part.codes.iter().copied()).collect();
        let tiles = match first.scheme.tiling() {
            // All parts have the same one.
            Tiling::Tensor => first.scales.tiles.clone(),
            Tiling::Row | Tiling::Block { .. } => {
                parts.iter().flat_map(|part| part.scales.tiles.iter().copied()).collect()
            }
        };
        let zeros = parts.iter().flat_map(|part| part.scales.zeros.iter().copied()).collect();
        let scales = Scales { tiles, tensor: first.scales.tensor, zeros };
        let stored = StoredMatrix { codes, scales, levels: None };
        Self::from_stored_matrix(first.scheme, [rows, first.cols], stored)
            .expect("parts of one matrix")
    }

    /// Returns how codes and scales are to be understood.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Returns the codes, little-endian, row-major; 4-bit ones have a byte each. Those of levels
    /// are the levels themselves, as INT8.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// Returns one scale per tile, row-major over tiles, exactly as readers of the file compute it.
    pub fn scales(&self) -> &[f32] {
        &self.scales.tiles
    }

    /// Returns the factor that all scales share where they are stored in two levels, else 1.
    pub fn tensor_scale(&self) -> f32 {
        self.scales.tensor
    }

    /// Returns the zero point of each tile, row-major over tiles; none where the scheme has none.
    pub fn zero_points(&self) -> &[i8] {
        &self.scales.zeros
    }

    /// Returns the smallest and the largest code that tile `tile` can store, where it has a zero
    /// point.
    pub fn code_range(&self, tile: usize) -> Option<[f32; 2]> {
        self.scales.zeros.get(tile).map(|zero| code_range(*zero))
    }

    /// Gives the scales away.
    pub(crate) fn into_scales(self) -> Scales {
        self.scales
    }

    /// Returns the scales as a file holds them, in the order of [`Scheme::scale_parts`].
    #[must_use]
    pub fn stored_scales(&self) -> Vec<(ScaleRole, Vec<u8>)> {
        let parts = self.scheme.scale_parts(self.shape());
        let roles = parts.into_iter().map(|part| part.role);
        roles.zip(self.scheme.storage().part_bytes(self)).collect()
    }

    /// Gives away the codes as a file holds them, a byte for each that is shorter: 4-bit ones where
    /// they stand for levels.
    #[must_use]
    pub fn into_stored_codes(self) -> Vec<u8> {
        let scheme = self.scheme;
        scheme.storage().stored_codes(self)
    }

    /// Returns which levels 4-bit codes stand for, where the scheme has levels.
    pub(crate) fn levels(&self) -> Option<&Levels> {
        self.levels.as_ref()
    }

    /// Gives the codes away, for a writer that needs no copy.
    pub fn into_codes(self) -> Vec<u8> {
        self.codes
    }

    /// Returns the first row that holds a code which stands for no number (NaN, an infinity, −128).
    pub fn first_invalid_row(&self) -> Option<usize> {
        self.scheme.grid().visit(FirstInvalidRow(self))
    }

    /// Decodes row `row` into `values`, which holds `cols` numbers: `decode(code) · scale`, then
    /// the rotation undone where the scheme rotates.
    ///
    /// # Panics
    /// When `row` or the length of `values` is out of range.
    pub fn decode_row(&self, row: usize, values: &mut [f32]) {
        assert_eq!(values.len(), self.cols, "length of a row");
        self.scheme.grid().visit(DecodeRow { matrix: self, row, values });
        let group = self.scheme.rotation_group(self.cols);
        if group > 0 {
            rotate(group, values);
        }
    }

    /// Decodes the matrix, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        // A matrix without columns has no chunks, and chunks of 0 would panic.
        for (row, out) in values.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.decode_row(row, out);
        }
        values
    }

    /// Reads the codes of row `row`.
    pub(crate) fn read_row_codes<G: Grid>(&self, row: usize, codes: &mut [G::Code]) {
        let row_bytes = self.cols * G::Code::BYTES;
        G::Code::read_le(&self.codes[row * row_bytes..][..row_bytes], codes);
    }

    /// Returns the scales of the tiles that row `row` crosses, left to right.
    pub(crate) fn row_scales(&self, row: usize) -> &[f32] {
        &self.scales.tiles[self.scheme.tiling().row_tiles(row, self.shape())]
    }
}

struct DecodeRow<'a> {
    matrix: &'a QuantizedMatrix,
    row: usize,
    values: &'a mut [f32],
}

impl GridVisitor for DecodeRow<'_> {
    type Output = ();

    fn visit<G: Grid>(self) {
        let Self { matrix, row, values } = self;
        let mut codes = vec![G::Code::default(); matrix.cols];
        matrix.read_row_codes::<G>(row, &mut codes);
        match matrix.row_scales(row) {
            [scale] => decode_scaled::<G>(&codes, *scale, values),
            scales => {
                let [_, tile_cols] = matrix.scheme.tiling().tile_shape(matrix.rows, matrix.cols);
                let mut spread_scales = vec![];
                spread(scales, tile_cols, matrix.cols, &mut spread_scales);
                decode_each::<G>(&codes, &spread_scales, values);
            }
        }
    }
}

struct FirstInvalidRow<'a>(&'a QuantizedMatrix);

impl GridVisitor for FirstInvalidRow<'_> {
    type Output = Option<usize>;

    fn visit<G: Grid>(self) -> Option<usize> {
        let mut codes = vec![G::Code::default(); self.0.cols];
        (0..self.0.rows).find(|&row| {
            self.0.read_row_codes::<G>(row, &mut codes);
            !codes.iter().all(|&code| G::is_finite_code(code))
        })
    }
}
