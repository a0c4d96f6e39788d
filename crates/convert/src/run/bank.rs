//! Banks of experts: several matrices in one tensor, each of which is rounded by itself.

use roundwise_layout::MatmulPrecision;
use roundwise_scheme::{
    QuantizedMatrix, ScaleRule, Scheme, SchemeError, WeightError, Zeroed, choose_scales, zeroed,
};

use crate::error::ConvertError;
use crate::plan::PlannedTensor;
use crate::report::bank_rounding::BankRounding;
use crate::report::watch::Watch;
use crate::report::{LayerRounding, TensorReport};
use crate::run::bands::below;
use crate::run::buffers::Buffers;
use crate::run::input::Input;
use crate::run::layer_pieces::LayerPieces;
use crate::run::lazy::Lazy;
use crate::run::output::Output;
use crate::run::stop::Stop;
use crate::source::Source;

/// What is known of the codes of a bank.
pub(crate) struct RoundedBank {
    error: WeightError,
    zeroed: Zeroed,
    rounding: Option<LayerRounding>,
}

impl RoundedBank {
    /// Returns the error of all experts.
    pub(crate) fn error(&self) -> WeightError {
        self.error
    }

    /// Tells it in the entry of the bank.
    pub(crate) fn tell(self, report: &mut TensorReport) {
        report.measure_codes((self.error, self.zeroed));
        report.rounding = self.rounding;
    }
}

/// Rounds every expert of a bank by itself, with scales of its own. One expert is in memory at a time.
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
) -> Result<RoundedBank, Stop> {
    let header = &planned.header;
    let (mut error, mut zeroes) = (WeightError::default(), Zeroed::default());
    let mut rounding = BankRounding::default();
    for expert in 0..experts_of(planned) {
        let weight =
            input.source.load_expert(header, expert, planned.is_transposed, buffers.take())?;
        let lazy = Lazy::of(input, watch, weight);
        let codes = input.round_expert(planned, expert, scheme, &lazy, buffers)?;
        error += codes.error;
        zeroes += zeroed(&lazy.weight(header, buffers)?.view(), &codes.matrix);
        rounding.add(codes.rounding);
        put(codes.matrix, buffers)?;
        lazy.recycle(buffers);
    }
    Ok(RoundedBank { error, zeroed: zeroes, rounding: rounding.finish(error) })
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
    /// Puts codes of a bank into the output.
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
        found.tell(report);
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
