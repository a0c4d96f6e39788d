use std::collections::BTreeMap;
use std::time::Instant;

use roundwise_layout::{
    ForeignLayer, MatmulPrecision, PackedTensor, layer_of_bias, layer_of_weight,
};
use roundwise_scheme::{FloatDtype, QuantizedMatrix, Rotation, Scheme, zeroed};
use roundwise_tensor_file::{PIECE_BYTES, TensorHeader, pieces};

use crate::error::ConvertError;
use crate::plan::reason::Reason;
use crate::plan::{Action, Decision, PlannedTensor};
use crate::recipe::{PlainDtype, Rounding};
use crate::report::TensorReport;
use crate::report::record::TensorRecord;
use crate::report::watch::{Event, Phase, notice};
use crate::run::bias;
use crate::run::buffers::Buffers;
use crate::run::decoded_pieces::DecodedPieces;
use crate::run::lazy::Lazy;
use crate::run::narrowing::Narrowing;
use crate::run::not_finite::first_row_not_finite;
use crate::run::output::Output;
use crate::run::pool::map_in_order;
use crate::run::stop::Stop;
use crate::source::experts::is_expert_bank;
use crate::source::numbers::{narrow, widened};

/// One step of a thread.
enum Task {
    /// Hash the file of this number.
    Hash(usize),
    /// Convert the tensor of this number, for every output.
    Convert(usize),
}

/// Converts whatever is not finished yet, and returns the entries of all tensors for every output.
///
/// - `outputs`: one or more; their plans are of the same tensors
pub(crate) fn convert_tensors(outputs: &[Output<'_>]) -> Result<Vec<Vec<TensorReport>>, Stop> {
    let first = &outputs[0];
    let tensors = outputs.iter().map(|output| output.plan.tensors.len()).sum();
    let bytes = outputs.iter().map(Output::bytes_of_work).sum();
    notice(first.watch, Event::Phase { name: Phase::Converting, tensors, bytes })?;
    let finished = outputs.iter().map(|output| output.finished.len()).sum();
    if finished > 0 {
        notice(first.watch, Event::Resumed { finished_tensors: finished, tensors })?;
    }
    for output in outputs {
        // Even where the run is resumed: they are a few bytes and follow from the plan.
        for (spec, bytes) in output.plan.file_tensors() {
            output.file.write(&spec.name, &bytes)?;
        }
    }
    // The input is hashed beside the work, while it is in the system's cache.
    let is_hashed = first.job.hash_input || first.job.recipe.tells_provenance();
    let hashes = first.input.files_to_hash().filter(|_| is_hashed).map(Task::Hash);
    // Hashes first in the list: threads take tasks in order, and the largest file should not be left for the end.
    let tasks: Vec<Task> = hashes.chain((0..first.plan.tensors.len()).map(Task::Convert)).collect();
    let reports = map_in_order(&tasks, first.tensors_in_flight(), |task, buffers| match task {
        Task::Hash(file) => Ok(first.input.hash_file(*file, first.watch).map(|()| None)?),
        Task::Convert(tensor) => convert_for_all(outputs, *tensor, buffers).map(Some),
    })?;
    let mut of_outputs = vec![Vec::with_capacity(first.plan.tensors.len()); outputs.len()];
    for of_tensor in reports.into_iter().flatten() {
        of_outputs.iter_mut().zip(of_tensor).for_each(|(reports, report)| reports.push(report));
    }
    Ok(of_outputs)
}

/// Puts a tensor into every output, and returns its entries in their order.
fn convert_for_all(
    outputs: &[Output<'_>],
    tensor: usize,
    buffers: &mut Buffers,
) -> Result<Vec<TensorReport>, Stop> {
    let lazy = Lazy::new(outputs[0].input, outputs[0].watch);
    // Schemes that rotate alike follow one another: they share what is found.
    let mut in_turn: Vec<usize> = (0..outputs.len()).collect();
    in_turn
        .sort_by_key(|&output| outputs[output].job.recipe.scheme().rotation().map(Rotation::most));
    let converted = in_turn.into_iter().map(|index| {
        let output = &outputs[index];
        Ok((index, output.put(&output.plan.tensors[tensor], &lazy, buffers)?))
    });
    // By their index, so that the entries come out in the order of the outputs again.
    let reports = converted.collect::<Result<BTreeMap<_, _>, Stop>>();
    lazy.recycle(buffers);
    Ok(reports?.into_values().collect())
}

impl<'a> Output<'a> {
    /// Puts what a tensor becomes into the output.
    fn put(
        &self,
        planned: &PlannedTensor,
        lazy: &Lazy<'a>,
        buffers: &mut Buffers,
    ) -> Result<TensorReport, Stop> {
        let header = &planned.header;
        let mut report = TensorReport::planned(planned);
        // 1. What an earlier run has finished is told, and not done again.
        if let Some(record) = self.finished.get(&header.name) {
            self.pass_finished(planned)?;
            let report = report.recalled(record);
            self.tell_finished(&report, true)?;
            return Ok(report);
        }
        // 2. The work.
        notice(self.watch, Event::Begun { tensor: &header.name })?;
        let started = Instant::now();
        let written = self.carry_out(planned, lazy, &mut report, buffers)?;
        report.seconds = started.elapsed().as_secs_f64();
        // 3. The record.
        // What is removed, or goes along with its weight, has written nothing and has no record.
        if !written.is_empty() {
            // After its bytes: a run that ends between the two does the tensor again.
            let record = TensorRecord::new(&report);
            self.file.record(&header.name, &written, record.to_json())?;
        }
        self.tell_finished(&report, false)?;
        Ok(report)
    }

    /// Does what was decided about a tensor, and returns the names of the tensors that were written.
    fn carry_out(
        &self,
        planned: &PlannedTensor,
        lazy: &Lazy<'a>,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let header = &planned.header;
        let mut written = match &planned.decision {
            Decision::Copy if planned.is_merged => self.merge(header, buffers)?,
            Decision::Copy => self.copy(planned, &header.name, report, buffers)?,
            Decision::Rename { name } => self.copy(planned, name, report, buffers)?,
            Decision::Decode { dtype } => self.decode(planned, *dtype, report, buffers)?,
            Decision::Repack { scheme, matmul_precision, .. } if planned.experts().is_some() => {
                self.repack_bank(planned, *scheme, *matmul_precision, buffers)?
            }
            Decision::Repack { matmul_precision, gets_input_scale, .. } => {
                self.repack(planned, *matmul_precision, *gets_input_scale, buffers)?
            }
            Decision::Quantize { scheme, matmul_precision, .. } if planned.experts().is_some() => {
                self.quantize_bank(planned, *scheme, *matmul_precision, report, buffers)?
            }
            Decision::Quantize { scheme, matmul_precision, band_rows: Some(rows), .. } => {
                self.quantize_banded(planned, *scheme, *matmul_precision, *rows, report, buffers)?
            }
            Decision::Quantize { scheme, matmul_precision, bias, band_rows: None, .. } => {
                let bias = bias.as_ref();
                self.quantize(planned, (*scheme, *matmul_precision), bias, lazy, report, buffers)?
            }
            // A corrected bias is written with its weight.
            Decision::Correct | Decision::Remove => {
                self.passed(header.byte_len())?;
                vec![]
            }
        };
        if let Decision::Quantize { input_scale: Some(scale), .. } = planned.decision {
            let largest = self.input.largest_input_of(planned.layer())?;
            let name = scale.spec(planned.layer()).name;
            self.file.write(&name, &scale.bytes(largest))?;
            written.push(name);
        }
        Ok(written)
    }

    fn tell_finished(&self, tensor: &TensorReport, is_recalled: bool) -> Result<(), ConvertError> {
        notice(self.watch, Event::Finished { output: &self.job.output, is_recalled, tensor })
    }

    /// Rounds a weight, and its bias with it. Returns the names of the tensors that were written.
    fn quantize(
        &self,
        planned: &PlannedTensor,
        (scheme, matmul_precision): (Scheme, MatmulPrecision),
        bias: Option<&TensorHeader>,
        lazy: &Lazy<'a>,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let beside = self.shared_scales.absmax_beside(planned.layer());
        let has_own_bias = bias.is_some();
        let codes =
            self.input.round_planned(planned, scheme, has_own_bias, beside, lazy, buffers)?;
        report.measure(codes.error);
        report.rounding = codes.rounding;
        let view = lazy.weight(&planned.header, buffers)?.view();
        report.count_zeroed(zeroed(&view, &codes.matrix));
        let mut written = vec![];
        if let Some(bias) = bias {
            let correction = self.job.recipe.bias_correction();
            let source = &self.input.source;
            // Against the weight before rounding, which the cache still holds: the correction is the mean of what the
            // rounding lost.
            let view = lazy.weight(&planned.header, buffers)?.view();
            let layer = lazy.layer(planned, &view)?;
            let bytes = bias::corrected(correction, source, bias, layer, &codes.matrix)?;
            self.file.write(&bias.name, &bytes)?;
            written.push(bias.name.clone());
        }
        let packed = self.plan.layout.pack(planned.layer(), codes.matrix, matmul_precision);
        self.write_packed(packed, &mut written, buffers)?;
        Ok(written)
    }

    fn write_packed(
        &self,
        packed: Vec<PackedTensor>,
        written: &mut Vec<String>,
        buffers: &mut Buffers,
    ) -> Result<(), ConvertError> {
        for packed in packed {
            self.file.write(&packed.name, &packed.bytes)?;
            buffers.keep(packed.bytes);
            written.push(packed.name);
        }
        Ok(())
    }

    fn bytes_of_work(&self) -> u64 {
        let bytes = |planned: &PlannedTensor| planned.header.byte_len();
        match self.job.recipe.rounding() {
            Rounding::Nearest => self.plan.tensors.iter().map(bytes).sum(),
            Rounding::Learned(_) => self.plan.quantized().map(|(planned, _)| bytes(planned)).sum(),
        }
    }

    /// Lets the progress jump over what an earlier run has finished.
    fn pass_finished(&self, planned: &PlannedTensor) -> Result<(), ConvertError> {
        let bytes = planned.header.byte_len();
        match planned.action() {
            Action::Quantize => notice(self.watch, Event::Recalled { bytes }),
            _ => self.passed(bytes),
        }
    }

    /// Reports bytes that were only passed on. Beside learned rounding they take no time, and
    /// counting them would make the time that is left look short.
    pub(crate) fn passed(&self, bytes: u64) -> Result<(), ConvertError> {
        let bytes = match self.job.recipe.rounding() {
            Rounding::Nearest => bytes,
            Rounding::Learned(_) => 0,
        };
        notice(self.watch, Event::Advanced { bytes })
    }

    /// Copies a tensor piece by piece.
    ///
    /// - `name`: in the output
    fn copy(
        &self,
        planned: &PlannedTensor,
        name: &str,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let header = &planned.header;
        // Of weights that are kept for it a note tells; a mask may be made of infinities.
        let is_weight = layer_of_weight(name).or_else(|| layer_of_bias(name)).is_some()
            || is_expert_bank(header);
        let is_told = matches!(planned.reason, Reason::NotFinite { .. });
        let numbers = PlainDtype::of(header.dtype).filter(|_| is_weight && !is_told);
        let mut memory = buffers.take();
        memory.resize(header.byte_len().min(PIECE_BYTES) as usize, 0);
        for piece in pieces(header.byte_len()) {
            let length = piece.end - piece.start;
            let buffer = &mut memory[..length as usize];
            self.input.source.checkpoint.read_into(header, piece.start, buffer)?;
            let row = buffer.len() / numbers.map_or(1, PlainDtype::width);
            report.is_not_finite |=
                numbers.is_some_and(|dtype| first_row_not_finite(dtype, buffer, row).is_some());
            self.file.write_part(name, piece.start, buffer)?;
            self.passed(length)?;
        }
        // Without elements there are no pieces, and the tensor has to be written all the same.
        if header.byte_len() == 0 {
            self.file.write(name, &[])?;
        }
        buffers.keep(memory);
        Ok(vec![name.to_owned()])
    }

    /// Writes numbers of the same dtype, with the adapters' changes added.
    fn merge(&self, header: &TensorHeader, buffers: &mut Buffers) -> Result<Vec<String>, Stop> {
        let values = self.input.source.merged_numbers(header)?;
        let mut bytes = buffers.take();
        bytes.clear();
        narrow(header.dtype, &values, &mut bytes);
        self.file.write(&header.name, &bytes)?;
        buffers.keep(bytes);
        self.passed(header.byte_len())?;
        Ok(vec![header.name.clone()])
    }

    fn decode(
        &self,
        planned: &PlannedTensor,
        dtype: PlainDtype,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let foreign = self.input.source.foreign_layer(&planned.header);
        // Some rows at a time, unless an adapter changes the weight: that needs it whole.
        if let Some(foreign) = foreign.filter(|_| !planned.is_merged) {
            return self.decode_foreign(planned, foreign, dtype, report, buffers);
        }
        if planned.header.is_in_blocks() && !planned.is_merged {
            return self.decode_blocks(planned, dtype, report, buffers);
        }
        let memory = buffers.take();
        let mut lost = Narrowing::of(dtype);
        let bytes = match planned.is_merged {
            true => {
                let source = &self.input.source;
                let values = match source.is_in_codes(&planned.header) {
                    true => source.load_into(&planned.header, buffers.take())?.view().to_f32(),
                    // Blocks of GGUF, and FP8 that is a number by itself.
                    false => source.merged_numbers(&planned.header)?,
                };
                let bytes = dtype.stored(&values, memory);
                lost.add(&values, &bytes);
                bytes
            }
            false => {
                let matrix = self.input.source.decoded_codes(&planned.header)?;
                let [_, cols] = matrix.shape();
                let bytes = dtype.decoded(&matrix, memory);
                lost.add_matrix(&matrix, &bytes);
                // A plan that knows of it has a note about it, and the number is stored as it is.
                let is_known = self.plan.not_finite.contains_key(&planned.header.name);
                if let Some(row) = first_row_not_finite(dtype, &bytes, cols).filter(|_| !is_known) {
                    return Err(Stop::NotFinite { tensor: planned.header.name.clone(), row });
                }
                bytes
            }
        };
        lost.tell(report);
        let name = planned.decoded_name();
        self.file.write(&name, &bytes)?;
        buffers.keep(bytes);
        self.passed(planned.header.byte_len())?;
        Ok(vec![name])
    }

    /// Narrows what blocks of GGUF are decoded to on reading, piece by piece: tables of words are large.
    fn decode_blocks(
        &self,
        planned: &PlannedTensor,
        dtype: PlainDtype,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let header = &planned.header;
        let mut numbers = buffers.take();
        let mut decoded = DecodedPieces::new(self, planned, dtype, vec![]);
        for piece in pieces(header.byte_len()) {
            numbers.resize((piece.end - piece.start) as usize, 0);
            self.input.source.checkpoint.read_into(header, piece.start, &mut numbers)?;
            decoded.put(&widened(FloatDtype::F32, &numbers))?;
            self.passed(piece.end - piece.start)?;
        }
        // Without elements there are no pieces, and the tensor has to be written all the same.
        if header.byte_len() == 0 {
            decoded.put(&[])?;
        }
        let (written, _) = decoded.finish(report);
        buffers.keep(numbers);
        Ok(written)
    }

    /// Decodes another program's codes.
    fn decode_foreign(
        &self,
        planned: &PlannedTensor,
        foreign: &ForeignLayer,
        dtype: PlainDtype,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let mut values = vec![];
        let mut decoded = DecodedPieces::new(self, planned, dtype, buffers.take());
        for rows in foreign.pieces(0..foreign.rows()) {
            self.input.source.foreign_rows(foreign, rows, &mut values)?;
            decoded.put(&values)?;
        }
        let (written, memory) = decoded.finish(report);
        buffers.keep(memory);
        self.passed(planned.header.byte_len())?;
        Ok(written)
    }

    /// Lays the input's codes and scales out anew.
    fn repack(
        &self,
        planned: &PlannedTensor,
        matmul_precision: MatmulPrecision,
        gets_input_scale: bool,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let matrix = self.codes_of(planned)?;
        let mut written = vec![];
        let packed = self.plan.layout.pack(planned.layer(), matrix, matmul_precision);
        self.write_packed(packed, &mut written, buffers)?;
        if let (true, Some(spec)) = (gets_input_scale, planned.input_scale_spec()) {
            let scale = self.input.input_scale_of(planned.layer())?;
            self.file.write(&spec.name, &scale.to_le_bytes())?;
            written.push(spec.name);
        }
        self.passed(planned.header.byte_len())?;
        Ok(written)
    }

    fn codes_of(&self, planned: &PlannedTensor) -> Result<QuantizedMatrix, ConvertError> {
        let stored = self.input.source.stored_layer(&planned.header);
        self.input.source.codes(stored.expect("the plan decodes and moves layers in codes only"))
    }
}
