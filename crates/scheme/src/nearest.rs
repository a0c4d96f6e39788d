//! Nearest rounding.

use roundwise_grid::{Code, Grid, GridVisitor, encode_measured, encode_measured_each};

use crate::error::SchemeError;
use crate::measure::{WeightError, measure};
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::scales::{
    ScaleRule, Scales, choose_band_scales, choose_row_scales, choose_scales, is_by_row,
};
use crate::scheme::Scheme;
use crate::storage::{quantize_from_zero_points, quantize_to_levels};
use crate::tiling::spread;
use crate::weight::Weight;

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

    /// Rounds as [`QuantizedMatrix::nearest`] does and measures the error as [`measure`] does:
    /// weights are read, and rotated, once for both.
    ///
    /// - `memory`: for the codes, of any length and content
    ///
    /// # Errors
    /// As [`QuantizedMatrix::nearest`].
    pub fn nearest_measured(
        weight: &Weight<'_>,
        scheme: Scheme,
        rule: ScaleRule,
        memory: Vec<u8>,
    ) -> Result<(Self, WeightError), SchemeError> {
        let shape = [weight.rows(), weight.cols()];
        scheme.covers(shape[0], shape[1])?;
        if scheme.has_levels() {
            let quantized = quantize_to_levels(weight, scheme, rule, memory)?;
            let error = measure(weight, &quantized);
            return Ok((quantized, error));
        }
        if scheme.has_zero_points() {
            let quantized = quantize_from_zero_points(weight, scheme, rule, memory)?;
            let error = measure(weight, &quantized);
            return Ok((quantized, error));
        }
        let scales = match is_by_row(scheme, rule, shape) {
            true => None,
            false => Some(choose_scales(weight, scheme, rule)?),
        };
        let mut error = WeightError::default();
        let quantized = Self::encoded(weight, scheme, scales, memory, &mut error)?;
        Ok((quantized, error))
    }

    /// Rounds some rows of a weight that is too large to be held whole, to the codes and scales
    /// that the whole has in these rows. Band by band, errors add up to those of the whole.
    ///
    /// - `rows`: a multiple of the height of a tile above it, where tiles have one
    /// - `largest`: [`largest_magnitude`](crate::largest_magnitude) of all rows; anything where the
    ///   scheme does not [need](Scheme::needs_largest) it
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
        let shape = [rows.rows(), rows.cols()];
        scheme.covers(shape[0], shape[1])?;
        let scales = match is_by_row(scheme, rule, shape) {
            true => None,
            false => Some(choose_band_scales(rows, scheme, rule, largest)?),
        };
        Self::encoded(rows, scheme, scales, memory, error)
    }

    /// Rounds to nearest codes and adds their error to `error`.
    ///
    /// - `scales`: `None` where each row's are chosen when it is at hand
    fn encoded(
        weight: &Weight<'_>,
        scheme: Scheme,
        scales: Option<Scales>,
        memory: Vec<u8>,
        error: &mut WeightError,
    ) -> Result<Self, SchemeError> {
        let [rows, cols] = [weight.rows(), weight.cols()];
        let weight = &weight.seen_by(scheme);
        let by_row = scales.is_none();
        // Places for those that `Encode` chooses.
        let places = || vec![1.0; scheme.tiling().tiles(rows, cols).iter().product()].into();
        let mut scales = scales.unwrap_or_else(places);
        let tiles = &mut scales.tiles;
        let encode = Encode { weight, scheme, scales: tiles, by_row, memory, error };
        let codes = scheme.grid().visit(encode)?;
        let stored = StoredMatrix { codes, scales, levels: None };
        Self::from_stored_matrix(scheme, [rows, cols], stored)
    }
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
        // Reserved by a call that can fail: codes that do not fit are an error with a way out, not
        // an abort.
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
            let scales = &mut self.scales[self.scheme.tiling().row_tiles(row, shape)];
            // A scale that needs nothing but its row is chosen here, so that the weight is widened, and rotated, once.
            if self.by_row {
                choose_row_scales(self.scheme, shape, row, &values, scales)?;
            }
            *self.error += match scales {
                [scale] => encode_measured::<G>(&values, *scale, &mut codes),
                scales => {
                    spread(scales, tile_cols, cols, &mut spread_scales);
                    encode_measured_each::<G>(&values, &spread_scales, &mut codes)
                }
            };
            G::Code::write_le(&codes, &mut bytes[row * row_bytes..][..row_bytes]);
        }
        Ok(bytes)
    }
}
