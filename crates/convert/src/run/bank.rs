//! Banks of experts: several matrices in one tensor, each of which is rounded by itself.

use roundwise_layout::MatmulPrecision;
use roundwise_scheme::{
    QuantizedMatrix, ScaleRule, Scheme, SchemeError, WeightError, Zeroed, choose_scales, zeroed,
};

use crate::error::ConvertError;
use crate::plan::PlannedTensor;
use crate::report::TensorReport;
use crate::report::watch::{Event, Watch, notice};
use crate::run::bands::below;
use crate::run::buffers::Buffers;
use crate::run::input::Input;
use crate::run::layer_pieces::LayerPieces;
use crate::run::output::Output;
use crate::run::stop::Stop;
use crate::source::Source;

/// Rounds every expert of a bank to nearest codes, with scales of its own, and returns the error of all. One expert is
/// in memory at a time.
///
/// - `put`: takes the codes of each expert in their order
///
/// # Errors
/// When the bank cannot be read or holds no finite numbers, and what `put` answers.
pub(crate) fn round_bank(
    input: &Input,
    planned: &PlannedTensor,
    scheme: Scheme,
    watch: &dyn Watch,
    buffers: &mut Buffers,
    mut put: impl FnMut(QuantizedMatrix, &mut Buffers) -> Result<(), Stop>,
) -> Result<(WeightError, Zeroed), Stop> {
    let header = &planned.header;
    let experts = experts_of(planned);
    let rule = input.recipe.scale_rule_without_inputs();
    let (mut error, mut zeroes) = (WeightError::default(), Zeroed::default());
    for expert in 0..experts {
        let weight =
            input.source.load_expert(header, expert, planned.is_transposed, buffers.take())?;
        let rounded =
            QuantizedMatrix::nearest_measured(&weight.view(), scheme, rule, buffers.take());
        let (matrix, of_expert) = rounded.map_err(|error| {
            let error = in_bank(error, planned, expert);
            Stop::rounding(&input.source, header, error.into())
        })?;
        error += of_expert;
        zeroes += zeroed(&weight.view(), &matrix);
        put(matrix, buffers)?;
        buffers.keep(weight.into_bytes());
        notice(watch, Event::Advanced { bytes: header.byte_len() / experts as u64 })?;
    }
    Ok((error, zeroes))
}

/// Checks that a bank holds finite numbers only.
///
/// # Errors
/// When the bank cannot be read; the inner one for a NaN or an infinity, with its row.
pub(crate) fn check_bank(
    source: &Source,
    planned: &PlannedTensor,
    scheme: Scheme,
) -> Result<Result<(), SchemeError>, ConvertError> {
    let mut memory = vec![];
    for expert in 0..experts_of(planned) {
        let weight = source.load_expert(&planned.header, expert, planned.is_transposed, memory)?;
        // Looks at every number and fails with the error that the conversion itself would end with.
        if let Err(error) = choose_scales(&weight.view(), scheme, ScaleRule::Absmax) {
            return Ok(Err(in_bank(error, planned, expert)));
        }
        memory = weight.into_bytes();
    }
    Ok(Ok(()))
}

fn experts_of(planned: &PlannedTensor) -> usize {
    planned.experts().expect("whoever asks for a bank has seen that it is one")
}

/// Counts the row that an error names from the top of the bank.
fn in_bank(error: SchemeError, planned: &PlannedTensor, expert: usize) -> SchemeError {
    below(error, expert * planned.matrix_shape()[0])
}

impl Output<'_> {
    /// Puts nearest codes of a bank into the output.
    pub(crate) fn quantize_bank(
        &self,
        planned: &PlannedTensor,
        scheme: Scheme,
        matmul_precision: MatmulPrecision,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let mut pieces = LayerPieces::new(self, planned, scheme, matmul_precision);
        let put = |matrix, buffers: &mut Buffers| pieces.put(matrix, buffers);
        let found = round_bank(self.input, planned, scheme, self.watch, buffers, put)?;
        report.measure_codes(found);
        pieces.finish()
    }

    /// Lays a bank's codes and scales out anew.
    pub(crate) fn repack_bank(
        &self,
        planned: &PlannedTensor,
        scheme: Scheme,
        matmul_precision: MatmulPrecision,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let source = &self.input.source;
        let stored = source.stored_layer(&planned.header);
        let stored = stored.expect("the plan moves layers in codes only");
        let mut pieces = LayerPieces::new(self, planned, scheme, matmul_precision);
        for expert in 0..experts_of(planned) {
            pieces.put(source.codes_of_expert(stored, expert)?, buffers)?;
        }
        self.passed(planned.header.byte_len())?;
        pieces.finish()
    }
}
