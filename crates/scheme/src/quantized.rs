use std::ops::Range;

use roundwise_grid::{
    Code, Grid, GridVisitor, decode_each, decode_scaled, encode_each, encode_measured, measure_each,
};

use crate::rotation::rotate;
use crate::scales::{choose_band_scales, choose_row_scales, is_by_row};
use crate::tiling::spread;
use crate::{
    Levels, ScaleRule, ScaleStorage, Scales, Scheme, SchemeError, Weight, WeightError,
    choose_scales, leveled, measure,
};

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

impl QuantizedMatrix {
    /// Rounds every weight to the nearest value that its tile can store.
    ///
    /// `code[r, c] = nearest_even(clamp(weight[r, c] / scale(r, c), −MAX, MAX))`; an all-zero tile
    /// has codes 0. Where the scheme rotates, the weights are the [rotated](Weight::seen_by) ones.
    ///
    /// # Errors
    /// As [`choose_scales`].
    pub fn nearest(
        weight: &Weight<'_>,
        scheme: Scheme,
        rule: ScaleRule,
    ) -> Result<Self, SchemeError> {
        Ok(Self::nearest_measured(weight, scheme, rule, Vec::new())?.0)
    }

    /// [`QuantizedMatrix::nearest`] into memory that is there already, of any length and content, and
    /// what [`measure`] finds of it: weights are read, and rotated, once for both.
    ///
    /// # Errors
    /// As [`QuantizedMatrix::nearest`].
    pub fn nearest_measured(
        weight: &Weight<'_>,
        scheme: Scheme,
        rule: ScaleRule,
        memory: Vec<u8>,
    ) -> Result<(Self, WeightError), SchemeError> {
        let shape @ [rows, cols] = [weight.rows(), weight.cols()];
        scheme.covers(rows, cols)?;
        if scheme.scale_storage() == ScaleStorage::Leveled {
            let quantized = leveled::quantize(weight, scheme, rule, memory)?;
            let error = measure(weight, &quantized);
            return Ok((quantized, error));
        }
        let by_row = is_by_row(scheme, rule, shape);
        let scales = match by_row {
            true => vec![1.0; scheme.tiling().tiles(rows, cols).iter().product()].into(),
            false => choose_scales(weight, scheme, rule)?,
        };
        let mut error = WeightError::default();
        let quantized = Self::encoded(weight, scheme, scales, by_row, memory, &mut error)?;
        Ok((quantized, error))
    }

    /// [`QuantizedMatrix::nearest_measured`] for some rows of a weight that is too large to be held
    /// whole: the same codes and scales as the whole has in these rows, and, band by band, the same
    /// sums.
    ///
    /// - `rows`: a multiple of the height of a tile above it, where tiles have one
    /// - `largest`: [`largest_magnitude`](crate::largest_magnitude) of all rows
    /// - `error`: of the rows above; that of these is added
    ///
    /// # Errors
    /// As [`QuantizedMatrix::nearest`]; [`SchemeError::NotByBand`] when the scale of a tensor is
    /// searched for.
    pub fn nearest_band(
        rows: &Weight<'_>,
        scheme: Scheme,
        rule: ScaleRule,
        largest: f32,
        memory: Vec<u8>,
        error: &mut WeightError,
    ) -> Result<Self, SchemeError> {
        if !scheme.is_by_band(rule) {
            return Err(SchemeError::NotByBand);
        }
        scheme.covers(rows.rows(), rows.cols())?;
        let scales = choose_band_scales(rows, scheme, rule, largest)?;
        Self::encoded(rows, scheme, scales, false, memory, error)
    }

    /// Nearest codes with these scales, or with scales by row, and their error added to `error`.
    fn encoded(
        weight: &Weight<'_>,
        scheme: Scheme,
        mut scales: Scales,
        by_row: bool,
        memory: Vec<u8>,
        error: &mut WeightError,
    ) -> Result<Self, SchemeError> {
        let [rows, cols] = [weight.rows(), weight.cols()];
        let weight = &weight.seen_by(scheme);
        let tiles = &mut scales.tiles;
        let encode = Encode { weight, scheme, scales: tiles, by_row, memory, error };
        let codes = scheme.grid().visit(encode)?;
        Ok(Self { scheme, rows, cols, codes, scales, levels: None })
    }

    /// Takes codes and scales that were stored.
    ///
    /// - `codes`: `rows · cols` little-endian codes, row-major, a byte for each that is shorter
    /// - `scales`: one per tile, row-major over tiles, multiplied on decoding; a vector will do
    ///   where they share no factor
    ///
    /// # Errors
    /// [`SchemeError::PartLength`] when either does not fit the shape, or the codes stand for levels,
    /// which [`QuantizedMatrix::from_leveled`] takes. Ragged last blocks are accepted here: other
    /// programs write them.
    pub fn from_parts(
        scheme: Scheme,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales: impl Into<Scales>,
    ) -> Result<Self, SchemeError> {
        if scheme.scale_storage() == ScaleStorage::Leveled {
            let expected = shape[0].saturating_mul(shape[1] / crate::LEVEL_GROUP);
            return Err(SchemeError::PartLength { what: "scales of groups", found: 0, expected });
        }
        Self::from_all_parts(scheme, shape, codes, scales, None)
    }

    pub(crate) fn from_all_parts(
        scheme: Scheme,
        [rows, cols]: [usize; 2],
        codes: Vec<u8>,
        scales: impl Into<Scales>,
        levels: Option<Levels>,
    ) -> Result<Self, SchemeError> {
        let code_bytes = scheme.grid().code_bytes();
        let scales = scales.into();
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
        Ok(Self { scheme, rows, cols, codes, scales, levels })
    }

    /// The same scales with other codes.
    ///
    /// # Errors
    /// As [`QuantizedMatrix::from_parts`].
    pub fn with_codes(&self, codes: Vec<u8>) -> Result<Self, SchemeError> {
        let (scales, levels) = (self.scales.clone(), self.levels.clone());
        Self::from_all_parts(self.scheme, self.shape(), codes, scales, levels)
    }

    /// How codes and scales are to be understood.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Codes, little-endian, row-major; 4-bit ones have a byte each. Those of levels are the levels
    /// themselves, as INT8.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// One scale per tile, row-major over tiles, exactly as readers of the file compute it.
    pub fn scales(&self) -> &[f32] {
        &self.scales.tiles
    }

    /// The factor that all scales share where they are stored in two levels, else 1.
    pub fn tensor_scale(&self) -> f32 {
        self.scales.tensor
    }

    /// Which levels 4-bit codes stand for, where the scheme has levels.
    pub(crate) fn levels(&self) -> Option<&Levels> {
        self.levels.as_ref()
    }

    /// Gives the codes away, for a writer that needs no copy.
    pub fn into_codes(self) -> Vec<u8> {
        self.codes
    }

    /// First row that holds a code which stands for no number (NaN, an infinity, −128).
    pub fn first_invalid_row(&self) -> Option<usize> {
        self.scheme.grid().visit(FirstInvalidRow(self))
    }

    /// Decodes row `row` into `values`, which holds `cols` numbers: `decode(code) · scale`, then the
    /// rotation undone where the scheme rotates.
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

    /// Scales of the tiles that row `row` crosses, left to right.
    pub(crate) fn row_scales(&self, row: usize) -> &[f32] {
        &self.scales.tiles[of_row(self.scheme, self.shape(), row)]
    }
}

/// Indices of the scales of row `row`.
fn of_row(scheme: Scheme, shape: [usize; 2], row: usize) -> Range<usize> {
    let [_, across] = scheme.tiling().tiles(shape[0], shape[1]);
    let first = scheme.tiling().first_tile(row, shape);
    first..first + across
}

struct Encode<'a> {
    weight: &'a Weight<'a>,
    scheme: Scheme,
    scales: &'a mut [f32],
    /// Whether the scales are still to be chosen, row by row.
    by_row: bool,
    memory: Vec<u8>,
    /// Of the codes, added row by row.
    error: &'a mut WeightError,
}

impl GridVisitor for Encode<'_> {
    type Output = Result<Vec<u8>, SchemeError>;

    fn visit<G: Grid>(self) -> Result<Vec<u8>, SchemeError> {
        let shape @ [rows, cols] = [self.weight.rows(), self.weight.cols()];
        let row_bytes = cols * G::Code::BYTES;
        let mut bytes = self.memory;
        let length = rows * row_bytes;
        bytes
            .try_reserve_exact(length.saturating_sub(bytes.len()))
            .map_err(|_| SchemeError::OutOfMemory { bytes: length })?;
        bytes.resize(length, 0);
        let [_, tile_cols] = self.scheme.tiling().tile_shape(rows, cols);
        let mut values = vec![0.0; cols];
        let mut codes = vec![G::Code::default(); cols];
        let mut spread_scales = vec![];
        for row in 0..rows {
            self.weight.widen_row(row, &mut values);
            let scales = &mut self.scales[of_row(self.scheme, shape, row)];
            if self.by_row {
                choose_row_scales(self.scheme, shape, row, &values, scales)?;
            }
            *self.error += match scales {
                [scale] => encode_measured::<G>(&values, *scale, &mut codes),
                scales => {
                    spread(scales, tile_cols, cols, &mut spread_scales);
                    encode_each::<G>(&values, &spread_scales, &mut codes);
                    measure_each::<G>(&values, &spread_scales, &codes)
                }
            };
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
