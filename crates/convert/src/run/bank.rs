//! Banks of experts: several matrices in one tensor, each of which is rounded by itself.

use std::collections::BTreeMap;

use roundwise_layout::MatmulPrecision;
use roundwise_scheme::{
    QuantizedMatrix, ScaleRule, Scheme, SchemeError, WeightError, choose_scales,
};

use crate::error::ConvertError;
use crate::plan::PlannedTensor;
use crate::report::TensorReport;
use crate::report::watch::{Event, Watch, notice};
use crate::run::buffers::Buffers;
use crate::run::input::Input;
use crate::run::output::Output;
use crate::run::round::Stop;
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
) -> Result<WeightError, Stop> {
    let header = &planned.header;
    let experts = planned.experts().unwrap_or_default();
    let rule = input.recipe.scale_rule_without_inputs();
    let mut error = WeightError::default();
    for expert in 0..experts {
        let weight = input.source.load_expert(header, expert, buffers.take())?;
        let rounded =
            QuantizedMatrix::nearest_measured(&weight.view(), scheme, rule, buffers.take());
        let (matrix, of_expert) = rounded.map_err(|error| {
            let error = in_bank(error, planned, expert);
            Stop::rounding(&input.source, header, error.into())
        })?;
        error += of_expert;
        put(matrix, buffers)?;
        buffers.keep(weight.into_bytes());
        notice(watch, Event::Advanced { bytes: header.byte_len() / experts as u64 })?;
    }
    Ok(error)
}

/// Returns the first row of a bank that holds a NaN or an infinity, as the error that says so.
///
/// # Errors
/// When the bank cannot be read.
pub(crate) fn check_bank(
    source: &Source,
    planned: &PlannedTensor,
    scheme: Scheme,
) -> Result<Result<(), SchemeError>, ConvertError> {
    let mut memory = vec![];
    for expert in 0..planned.experts().unwrap_or_default() {
        let weight = source.load_expert(&planned.header, expert, memory)?;
        if let Err(error) = choose_scales(&weight.view(), scheme, ScaleRule::Absmax) {
            return Ok(Err(in_bank(error, planned, expert)));
        }
        memory = weight.into_bytes();
    }
    Ok(Ok(()))
}

/// Counts the row that an error names from the top of the bank.
fn in_bank(error: SchemeError, planned: &PlannedTensor, expert: usize) -> SchemeError {
    let [rows, _] = planned.matrix_shape();
    match error {
        SchemeError::NotFinite { row } => SchemeError::NotFinite { row: expert * rows + row },
        error => error,
    }
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
        let mut bank = BankTensors::new(self, planned, matmul_precision);
        let put = |matrix, buffers: &mut Buffers| bank.put(matrix, buffers);
        report.measure(round_bank(self.input, planned, scheme, self.watch, buffers, put)?);
        bank.finish(scheme)
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
        let mut bank = BankTensors::new(self, planned, matmul_precision);
        for expert in 0..planned.experts().unwrap_or_default() {
            bank.put(source.codes_of_expert(stored, expert)?, buffers)?;
        }
        bank.finish(scheme)
    }
}

/// The tensors of a bank in the output, filled one expert behind the other.
struct BankTensors<'a> {
    output: &'a Output<'a>,
    planned: &'a PlannedTensor,
    matmul_precision: MatmulPrecision,
    /// Bytes that each tensor has so far.
    filled: BTreeMap<String, u64>,
}

impl<'a> BankTensors<'a> {
    fn new(
        output: &'a Output<'a>,
        planned: &'a PlannedTensor,
        matmul_precision: MatmulPrecision,
    ) -> Self {
        Self { output, planned, matmul_precision, filled: BTreeMap::new() }
    }

    /// Puts the codes and scales of the next expert behind those of the one before.
    fn put(&mut self, matrix: QuantizedMatrix, buffers: &mut Buffers) -> Result<(), Stop> {
        let (layer, layout) = (self.planned.layer(), self.output.plan.layout);
        let marker = layout.marker(layer, matrix.scheme(), self.matmul_precision, matrix.shape());
        for packed in layout.pack(layer, matrix, self.matmul_precision) {
            // The marker is of the bank, and is written once.
            if marker.as_ref().is_some_and(|marker| marker.name == packed.name) {
                continue;
            }
            let at = self.filled.entry(packed.name.clone()).or_default();
            self.output.file.write_part(&packed.name, *at, &packed.bytes)?;
            *at += packed.bytes.len() as u64;
            buffers.keep(packed.bytes);
        }
        Ok(())
    }

    /// Writes the marker, and returns the names of all tensors.
    fn finish(self, scheme: Scheme) -> Result<Vec<String>, Stop> {
        let Self { output, planned, matmul_precision, filled } = self;
        let shape = planned.layer_shape();
        let marker = output.plan.layout.marker(planned.layer(), scheme, matmul_precision, shape);
        let mut written: Vec<String> = filled.into_keys().collect();
        if let Some(marker) = marker {
            output.file.write(&marker.name, &marker.bytes)?;
            written.push(marker.name);
        }
        Ok(written)
    }
}
