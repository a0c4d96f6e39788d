use std::ops::Range;

use roundwise_grid::{Code, Grid, GridVisitor, decode_scaled, encode_scaled};

use crate::{ScaleRule, Scheme, SchemeError, Weight, choose_scales};

/// A matrix `[rows, cols]` as codes and scales.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatrix {
    scheme: Scheme,
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
}

impl QuantizedMatrix {
    /// Rounds every weight to the nearest value that its tile can store.
    ///
    /// `code[r, c] = nearest_even(clamp(weight[r, c] / scale(r, c), −MAX, MAX))`; an all-zero tile
    /// has scale 1 and codes 0.
    ///
    /// # Errors
    /// [`SchemeError::Ragged`] and [`SchemeError::NotFinite`], as [`choose_scales`].
    pub fn nearest(
        weight: &Weight<'_>,
        scheme: Scheme,
        rule: ScaleRule,
    ) -> Result<Self, SchemeError> {
        Self::nearest_into(weight, scheme, rule, Vec::new())
    }

    /// [`QuantizedMatrix::nearest`] into memory that is there already, of any length and content.
    ///
    /// # Errors
    /// As [`QuantizedMatrix::nearest`].
    pub fn nearest_into(
        weight: &Weight<'_>,
        scheme: Scheme,
        rule: ScaleRule,
        memory: Vec<u8>,
    ) -> Result<Self, SchemeError> {
        let scales = choose_scales(weight, scheme, rule)?;
        let codes = scheme.grid.visit(Encode { weight, scheme, scales: &scales, memory })?;
        Ok(Self { scheme, rows: weight.rows(), cols: weight.cols(), codes, scales })
    }

    /// Takes codes and scales that were stored.
    ///
    /// - `codes`: `rows · cols` little-endian codes, row-major
    /// - `scales`: one per tile, row-major over tiles, multiplied on decoding
    ///
    /// # Errors
    /// [`SchemeError::PartLength`] when either does not fit the shape. Ragged last blocks are
    /// accepted here: other programs write them.
    pub fn from_parts(
        scheme: Scheme,
        [rows, cols]: [usize; 2],
        codes: Vec<u8>,
        scales: Vec<f32>,
    ) -> Result<Self, SchemeError> {
        let code_bytes = scheme.code_bits() / 8;
        let expected = rows
            .checked_mul(cols)
            .and_then(|count| count.checked_mul(code_bytes))
            .unwrap_or(usize::MAX);
        if codes.len() != expected {
            return Err(SchemeError::PartLength { what: "codes", found: codes.len(), expected });
        }
        let expected = scheme.tiling.tiles(rows, cols).iter().product();
        if scales.len() != expected {
            return Err(SchemeError::PartLength { what: "scales", found: scales.len(), expected });
        }
        Ok(Self { scheme, rows, cols, codes, scales })
    }

    /// Grid and tiling.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Codes, little-endian, row-major.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// One scale per tile, row-major over tiles.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Gives the codes away, for a writer that needs no copy.
    pub fn into_codes(self) -> Vec<u8> {
        self.codes
    }

    /// First row that holds a code which stands for no number (NaN, an infinity, −128).
    pub fn first_invalid_row(&self) -> Option<usize> {
        self.scheme.grid.visit(FirstInvalidRow(self))
    }

    /// Decodes row `row` into `values`, which holds `cols` numbers: `decode(code) · scale`.
    ///
    /// # Panics
    /// When `row` or the length of `values` is out of range.
    pub fn decode_row(&self, row: usize, values: &mut [f32]) {
        assert_eq!(values.len(), self.cols, "length of a row");
        self.scheme.grid.visit(DecodeRow { matrix: self, row, values });
    }

    /// The decoded matrix, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        for (row, out) in values.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.decode_row(row, out);
        }
        values
    }

    /// Codes of row `row`.
    pub(crate) fn read_row_codes<G: Grid>(&self, row: usize, codes: &mut [G::Code]) {
        let row_bytes = self.cols * G::Code::BYTES;
        G::Code::read_le(&self.codes[row * row_bytes..][..row_bytes], codes);
    }

    /// Columns and scale of each tile that row `row` crosses.
    pub(crate) fn row_tiles(&self, row: usize) -> impl Iterator<Item = (Range<usize>, f32)> {
        let shape = self.shape();
        let first = self.scheme.tiling.first_tile(row, shape);
        self.scheme.tiling.columns(shape).zip(self.scales[first..].iter().copied())
    }
}

struct Encode<'a> {
    weight: &'a Weight<'a>,
    scheme: Scheme,
    scales: &'a [f32],
    memory: Vec<u8>,
}

impl GridVisitor for Encode<'_> {
    type Output = Result<Vec<u8>, SchemeError>;

    fn visit<G: Grid>(self) -> Result<Vec<u8>, SchemeError> {
        let shape @ [rows, cols] = [self.weight.rows(), self.weight.cols()];
        let tiling = self.scheme.tiling;
        let row_bytes = cols * G::Code::BYTES;
        let mut bytes = self.memory;
        let length = rows * row_bytes;
        bytes
            .try_reserve_exact(length.saturating_sub(bytes.len()))
            .map_err(|_| SchemeError::OutOfMemory { bytes: length })?;
        bytes.resize(length, 0);
        let mut values = vec![0.0; cols];
        let mut codes = vec![G::Code::default(); cols];
        for row in 0..rows {
            self.weight.widen_row(row, &mut values);
            let scales = &self.scales[tiling.first_tile(row, shape)..];
            for (columns, &scale) in tiling.columns(shape).zip(scales) {
                encode_scaled::<G>(&values[columns.clone()], scale, &mut codes[columns]);
            }
            G::Code::write_le(&codes, &mut bytes[row * row_bytes..][..row_bytes]);
        }
        Ok(bytes)
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
        let mut codes = vec![G::Code::default(); self.matrix.cols];
        self.matrix.read_row_codes::<G>(self.row, &mut codes);
        for (columns, scale) in self.matrix.row_tiles(self.row) {
            decode_scaled::<G>(&codes[columns.clone()], scale, &mut self.values[columns]);
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
