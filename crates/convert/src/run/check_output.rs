use std::collections::BTreeSet;

use roundwise_layout::{ExpertBlocks, StoredLayer, weight_of};
use roundwise_scheme::{GridKind, QuantizedMatrix, Scheme, Tiling, WeightError, measure};
use roundwise_tensor_file::{Manifest, TensorSpec};

use crate::error::ConvertError;
use crate::plan::same_model::same_model;
use crate::plan::{Decision, PlannedTensor};
use crate::report::TensorReport;
use crate::report::watch::{Event, Phase, notice};
use crate::run::buffers::Buffers;
use crate::run::output::Output;
use crate::run::pool::map_in_order;
use crate::source::Source;

/// Reads an output again before it gets its name: its header, the bytes of every tensor against the
/// hash of what was written, and layers in codes the way a loader finds them, whose error must be the
/// one that is reported.
///
/// Decoding and measuring takes half as long as nearest rounding itself, and what it finds beyond the
/// hashes, a mistake in packing, is the same in all layers of a scheme. So under nearest rounding the
/// smallest layer of each scheme answers for the others, where memory suffices for it; learned layers all
/// answer for themselves.
///
/// - `layers`: an entry for every tensor of the plan, in its order
///
/// # Errors
/// [`ConvertError::WrongOutput`] or the file's own error for the first thing that is wrong.
pub(crate) fn check_output(
    output: &Output<'_>,
    manifest: &Manifest,
    layers: &[TensorReport],
) -> Result<(), ConvertError> {
    // 1. The header, and whether programs still recognise the model by it.
    output.file.check_header(manifest)?;
    let written = Source::open_unfinished(output.file.temporary_path())?;
    // A part lacks what other parts have.
    if output.job.part.is_none() {
        let source = &output.input.source;
        same_model(&output.job.output, output.plan.layout, source, &written.shapes())?;
    }
    // Under the names of the file: codes of other programs go by another one once they are found.
    let tensors = manifest.tensors();
    let byte_len = |spec: &TensorSpec| spec.dtype.byte_len(&spec.shape).unwrap_or_default();
    let bytes = tensors.iter().map(byte_len).sum();
    notice(output.watch, Event::Phase { name: Phase::Checking, tensors: tensors.len(), bytes })?;
    let measured = output.measured_again();
    let names = measured.iter().map(|planned| planned.header.name.as_str());
    let gate = Gate { output, written: &written, measured: names.collect() };
    // 2. Every byte, against the hash of what was written.
    map_in_order(tensors, output.plan.memory.threads, |spec, _| {
        output.file.check(&spec.name)?;
        notice(output.watch, Event::Advanced { bytes: byte_len(spec) })
    })?;
    // 3. Layers in codes, as a loader finds them.
    let planned: Vec<_> = output.plan.tensors.iter().zip(layers).collect();
    map_in_order(&planned, output.tensors_in_flight(), |(planned, report), buffers| {
        gate.check_layer(planned, report, buffers)
    })?;
    Ok(())
}

struct Gate<'a> {
    output: &'a Output<'a>,
    written: &'a Source,
    measured: BTreeSet<&'a str>,
}

impl Gate<'_> {
    fn check_layer(
        &self,
        planned: &PlannedTensor,
        report: &TensorReport,
        buffers: &mut Buffers,
    ) -> Result<(), ConvertError> {
        match planned.decision {
            Decision::Quantize { scheme, .. } => self.check_codes(planned, scheme, report, buffers),
            Decision::Repack { scheme, .. } => self.check_same_codes(planned, scheme),
            // The hashes of what was copied, renamed or decoded have been compared, and no loader looks
            // for codes in it.
            _ => Ok(()),
        }
    }

    /// Checks that codes have the error that is reported.
    fn check_codes(
        &self,
        planned: &PlannedTensor,
        scheme: Scheme,
        report: &TensorReport,
        buffers: &mut Buffers,
    ) -> Result<(), ConvertError> {
        if self.is_told_by_another_part(scheme) {
            return Ok(());
        }
        let wrong = |problem| self.wrong(planned, problem);
        // The layer has to be found even where its error is not measured.
        let bank = find_bank(self.written, planned, scheme);
        let stored = match bank {
            Some(_) => None,
            None => find_layer(self.written, planned, scheme).map_err(wrong)?,
        };
        if !self.measured.contains(planned.header.name.as_str()) {
            return Ok(());
        }
        let source = &self.output.input.source;
        let bank_of_comfyui = stored.as_ref().filter(|stored| stored.experts.is_some());
        let found = match (bank, bank_of_comfyui) {
            (Some(bank), _) => self.measure_bank(planned, bank.experts, buffers, |expert| {
                self.written.blocks_of_expert(bank, expert)
            })?,
            (None, Some(bank)) => {
                self.measure_bank(planned, bank.experts.unwrap_or_default(), buffers, |expert| {
                    self.written.codes_of_expert(bank, expert)
                })?
            }
            (None, None) => {
                // In this order the codes of an input are gone from memory before those of the output are read.
                let weight = source.load_into(&planned.header, buffers.take())?;
                let found = measure(&weight.view(), &self.read(planned, scheme, stored)?);
                buffers.keep(weight.into_bytes());
                found
            }
        };
        // Bit for bit: both are sums of the same numbers in the same order.
        match report.sums {
            Some(expected) if expected == found => Ok(()),
            _ => Err(wrong(format!(
                "its error is {}, reported is {}",
                found.relative(),
                report.weight_error.unwrap_or_default()
            ))),
        }
    }

    /// Measures the experts of a bank one after the other, as they were rounded.
    fn measure_bank(
        &self,
        planned: &PlannedTensor,
        experts: usize,
        buffers: &mut Buffers,
        codes_of: impl Fn(usize) -> Result<QuantizedMatrix, ConvertError>,
    ) -> Result<WeightError, ConvertError> {
        let (source, header) = (&self.output.input.source, &planned.header);
        let mut error = WeightError::default();
        for expert in 0..experts {
            let weight =
                source.load_expert(header, expert, planned.is_transposed, buffers.take())?;
            error += measure(&weight.view(), &codes_of(expert)?);
            buffers.keep(weight.into_bytes());
        }
        Ok(error)
    }

    /// Returns whether readers find such codes by a tensor of the whole file, which the first part
    /// has.
    fn is_told_by_another_part(&self, scheme: Scheme) -> bool {
        let is_logarithmic = scheme.log_range().is_some();
        let is_scaled_f16 = scheme == Scheme::scaled(GridKind::F16, Tiling::Tensor);
        let is_first = self.output.job.part.is_none_or(|part| part.number() == 1);
        !is_first && (is_logarithmic || is_scaled_f16)
    }

    /// Checks that codes and scales that were laid out anew are those of the input.
    fn check_same_codes(
        &self,
        planned: &PlannedTensor,
        scheme: Scheme,
    ) -> Result<(), ConvertError> {
        let wrong = |problem: &str| self.wrong(planned, problem.to_owned());
        let stored = find_layer(self.written, planned, scheme);
        let found = self.read(planned, scheme, stored.map_err(|problem| wrong(&problem))?)?;
        let stored = self.output.input.source.stored_layer(&planned.header);
        let stored = stored.ok_or_else(|| wrong("is not in codes in the input"))?;
        let expected = self.output.input.source.codes(stored)?;
        // By their bits, so that −0 is not 0, and a NaN is itself.
        let bits = |matrix: &QuantizedMatrix| -> Vec<u32> {
            matrix.scales().iter().map(|scale| scale.to_bits()).collect()
        };
        match (found.codes() == expected.codes(), bits(&found) == bits(&expected)) {
            (true, true) => Ok(()),
            (false, _) => Err(wrong("its codes are not those of the input")),
            (true, false) => Err(wrong("its scales are not those of the input")),
        }
    }

    /// Reads the codes of a layer that was found, or codes that are numbers by themselves, in a
    /// tensor like any other.
    fn read(
        &self,
        planned: &PlannedTensor,
        scheme: Scheme,
        stored: Option<StoredLayer>,
    ) -> Result<QuantizedMatrix, ConvertError> {
        let wrong = |problem: String| self.wrong(planned, problem);
        if let Some(stored) = stored {
            return stored.read(&self.written.checkpoint).map_err(|error| wrong(error.to_string()));
        }
        let header = self.written.checkpoint.get(&weight_of(planned.layer()));
        let codes = self
            .written
            .checkpoint
            .read(header.expect("the header was compared with the plan's"))?;
        // Codes that are numbers by themselves have the scale 1.
        let matrix = QuantizedMatrix::from_parts(scheme, planned.matrix_shape(), codes, vec![1.0]);
        matrix.map_err(|error| wrong(error.to_string()))
    }

    fn wrong(&self, planned: &PlannedTensor, problem: String) -> ConvertError {
        ConvertError::WrongOutput {
            path: self.output.file.temporary_path().to_owned(),
            tensor: planned.header.name.clone(),
            problem,
        }
    }
}

/// Finds a bank of experts in codes of gpt-oss.
fn find_bank<'a>(
    written: &'a Source,
    planned: &PlannedTensor,
    scheme: Scheme,
) -> Option<&'a ExpertBlocks> {
    let bank = written.stored.expert_blocks.get(planned.layer())?;
    let is_planned = bank.scheme == scheme
        && planned.experts() == Some(bank.experts)
        && planned.matrix_shape() == bank.shape;
    is_planned.then_some(bank)
}

/// Finds a layer as a loader does; returns `None` where its scheme needs no scales.
fn find_layer(
    written: &Source,
    planned: &PlannedTensor,
    scheme: Scheme,
) -> Result<Option<StoredLayer>, String> {
    if !scheme.has_scales() {
        return Ok(None);
    }
    let stored = written.stored.layers.get(planned.layer());
    // Columns that no larger rotation divides do not tell how large it might have been.
    let [_, cols] = planned.matrix_shape();
    let stored = stored.filter(|stored| stored.scheme.is_same_for(scheme, cols));
    let stored = stored.filter(|stored| stored.experts == planned.experts());
    // The plan knows what of a padded weight is padding, also where the file does not say.
    let stored = stored.and_then(|stored| stored.cut_to(planned.matrix_shape()));
    stored.map(Some).ok_or_else(|| format!("a loader does not find {scheme} codes"))
}
