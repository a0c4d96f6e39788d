//! Nearest codes of weights that are read some rows at a time, so that these stay in a cache from the reading of
//! the rows to the writing of their codes.

use std::ops::Range;

use roundwise_layout::MatmulPrecision;
use roundwise_scheme::{
    QuantizedMatrix, Scheme, SchemeError, WeightError, Zeroed, largest_magnitude, zeroed,
};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::plan::PlannedTensor;
use crate::plan::memory::CACHED_BYTES;
use crate::report::TensorReport;
use crate::report::watch::{Event, Watch, notice};
use crate::run::buffers::Buffers;
use crate::run::input::Input;
use crate::run::layer_pieces::LayerPieces;
use crate::run::output::Output;
use crate::run::stop::Stop;
use crate::source::Source;

/// Ranges of rows from top to bottom, all but the last of one height.
fn bands(rows: usize, height: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(height.max(1)).map(move |first| first..rows.min(first + height))
}

/// Returns as many rows as fit into a cache.
///
/// - `rows`: of the weight, at least one
fn few_rows(header: &TensorHeader, rows: usize) -> usize {
    (CACHED_BYTES / (header.byte_len() / rows as u64).max(1)).max(1) as usize
}

/// Returns the largest magnitude of a weight.
///
/// # Errors
/// The inner one for a NaN or an infinity, with its row.
pub(crate) fn largest_of(
    source: &Source,
    header: &TensorHeader,
    [rows, height]: [usize; 2],
    scheme: Scheme,
) -> Result<Result<f32, SchemeError>, ConvertError> {
    let mut largest = 0.0_f32;
    let mut memory = vec![];
    for band in bands(rows, height) {
        let first = band.start;
        let weight = source.load_rows(header, band, memory)?;
        match largest_magnitude(&weight.view(), scheme) {
            Ok(found) => largest = largest.max(found),
            Err(error) => return Ok(Err(below(error, first))),
        }
        memory = weight.into_bytes();
    }
    Ok(Ok(largest))
}

/// Counts the row that an error names from the top of the weight.
///
/// - `above`: rows above those that it was found in
pub(crate) fn below(error: SchemeError, above: usize) -> SchemeError {
    match error {
        SchemeError::NotFinite { row } => SchemeError::NotFinite { row: above + row },
        error => error,
    }
}

/// How a weight is worked on by bands.
#[derive(Clone, Copy)]
pub(crate) struct Bands {
    pub(crate) scheme: Scheme,
    /// Rows of a band.
    pub(crate) height: usize,
    /// Largest magnitude of the weights that share its scale, 0 without any.
    pub(crate) absmax_beside: f32,
}

/// Rounds a weight to nearest codes, the same as of the whole, some rows at a time, and returns their
/// error.
///
/// - `put`: takes the codes of each band, from top to bottom
///
/// # Errors
/// When the weight cannot be read or holds no finite numbers, and what `put` answers.
pub(crate) fn round_by_bands(
    input: &Input,
    planned: &PlannedTensor,
    Bands { scheme, height, absmax_beside }: Bands,
    watch: &dyn Watch,
    buffers: &mut Buffers,
    mut put: impl FnMut(QuantizedMatrix, &mut Buffers) -> Result<(), Stop>,
) -> Result<(WeightError, Zeroed), Stop> {
    let header = &planned.header;
    let [rows, _] = planned.matrix_shape();
    let scheme_error = |error: SchemeError| Stop::rounding(&input.source, header, error.into());
    // Read twice where a scale of the whole tensor has to be known before the first of its codes.
    let largest = match scheme.needs_largest() {
        true => {
            let found = largest_of(&input.source, header, [rows, few_rows(header, rows)], scheme)?;
            found.map_err(scheme_error)?.max(absmax_beside)
        }
        false => 0.0,
    };
    let (mut error, mut zeroes) = (WeightError::default(), Zeroed::default());
    for band in bands(rows, height) {
        let first = band.start;
        // Rows are of one length, so the division leaves nothing. A weight without rows has no
        // band, and does not come here.
        let bytes = header.byte_len() / rows as u64 * band.len() as u64;
        let weight = input.source.load_rows(header, band, buffers.take())?;
        let (view, memory) = (weight.view(), buffers.take());
        // Bands are for nearest codes alone, and those know no statistics.
        let rule = input.recipe.scale_rule_without_inputs();
        let rounded =
            QuantizedMatrix::nearest_band(&view, scheme, rule, largest, memory, &mut error);
        let rounded = rounded.map_err(|error| scheme_error(below(error, first)))?;
        zeroes += zeroed(&view, &rounded);
        put(rounded, buffers)?;
        buffers.keep(weight.into_bytes());
        notice(watch, Event::Advanced { bytes })?;
    }
    Ok((error, zeroes))
}

impl Output<'_> {
    /// Puts nearest codes of a weight that is not held whole into the output.
    pub(crate) fn quantize_banded(
        &self,
        planned: &PlannedTensor,
        scheme: Scheme,
        matmul_precision: MatmulPrecision,
        height: usize,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let mut pieces = LayerPieces::new(self, planned, scheme, matmul_precision);
        let put = |band, buffers: &mut Buffers| pieces.put(band, buffers);
        let absmax_beside = self.shared_scales.absmax_beside(planned.layer());
        let by = Bands { scheme, height, absmax_beside };
        let found = round_by_bands(self.input, planned, by, self.watch, buffers, put)?;
        report.measure_codes(found);
        pieces.finish()
    }
}
