use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use roundwise_compute::Lease;
use roundwise_rounding::{Inputs, Linear, RoundingError, SearchCache};
use roundwise_scheme::{QuantizedMatrix, Rotation, Scheme, SchemeError};
use roundwise_tensor_file::{PIECE_BYTES, TensorFileWriter, TensorHeader, pieces};

use crate::bias;
use crate::buffers::Buffers;
use crate::hash::hash_file;
use crate::parallel::map_in_order;
use crate::report::{FileHash, Told};
use crate::rounder::Rounder;
use crate::shared_scales::SharedScales;
use crate::source::{LoadedWeight, narrow};
use crate::watch::notice;
use crate::{
    ConvertError, Decision, Event, Job, PlainDtype, Plan, PlannedTensor, Rounding, Source,
    TensorReport, Watch,
};

/// Why the work on an output ended early.
pub(crate) enum Stop {
    Failed(ConvertError),
    NotFinite { tensor: String },
}

impl<E: Into<ConvertError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

/// What a thread needs in order to convert a tensor.
pub(crate) struct Workshop<'a> {
    pub(crate) job: &'a Job,
    pub(crate) source: &'a Source,
    pub(crate) plan: &'a Plan,
    pub(crate) rounder: &'a Rounder<'a>,
    pub(crate) shared_scales: &'a SharedScales,
    pub(crate) output: &'a TensorFileWriter,
    pub(crate) watch: &'a dyn Watch,
    /// What an earlier run has finished, by the tensor of the input.
    pub(crate) finished: &'a BTreeMap<String, Told>,
    /// Hash of every file of the input, once it is known.
    pub(crate) input_hashes: &'a [OnceLock<FileHash>],
}

/// What a thread does next.
enum Task {
    /// Hash the file of this number.
    Hash(usize),
    /// Convert the tensor of this number, for every output.
    Convert(usize),
}

/// What the outputs have in common of a tensor.
#[derive(Default)]
struct Shared<'a> {
    /// Of the device that findings lie on.
    lease: OnceCell<Lease<'a>>,
    /// Read once.
    weight: OnceCell<LoadedWeight>,
    inputs: OnceCell<Option<Inputs>>,
    /// Searched for directions once.
    findings: SearchCache,
}

impl Shared<'_> {
    fn weight(
        &self,
        load: impl FnOnce() -> Result<LoadedWeight, ConvertError>,
    ) -> Result<&LoadedWeight, ConvertError> {
        once(&self.weight, load)
    }

    fn inputs(
        &self,
        load: impl FnOnce() -> Result<Option<Inputs>, ConvertError>,
    ) -> Result<Option<&Inputs>, ConvertError> {
        once(&self.inputs, load).map(Option::as_ref)
    }
}

/// What is in the cell, or what `load` gives.
fn once<T>(
    cell: &OnceCell<T>,
    load: impl FnOnce() -> Result<T, ConvertError>,
) -> Result<&T, ConvertError> {
    if cell.get().is_none() {
        let _ = cell.set(load()?);
    }
    Ok(cell.get().expect("it was just set"))
}

/// Converts whatever is not finished yet, and gives the entries of all tensors, for every output.
///
/// - `shops`: one per output, one or more; their plans are of the same tensors
pub(crate) fn convert_all(shops: &[Workshop<'_>]) -> Result<Vec<Vec<TensorReport>>, Stop> {
    let first = &shops[0];
    let tensors = shops.iter().map(|shop| shop.plan.tensors.len()).sum();
    let bytes = shops.iter().map(Workshop::bytes_of_work).sum();
    notice(first.watch, Event::Started { tensors, bytes })?;
    let finished = shops.iter().map(|shop| shop.finished.len()).sum();
    if finished > 0 {
        notice(first.watch, Event::Resumed { finished, tensors })?;
    }
    for shop in shops {
        for (spec, bytes) in shop.plan.file_tensors() {
            shop.output.write(&spec.name, &bytes)?;
        }
    }
    // The input is hashed beside the work, while it is in the system's cache.
    let hashes = first.hashes_to_make().map(Task::Hash);
    let tasks: Vec<Task> = hashes.chain((0..first.plan.tensors.len()).map(Task::Convert)).collect();
    let reports =
        map_in_order(&tasks, first.job.tensors_in_flight(), |task, buffers| match task {
            Task::Hash(file) => first.hash_input(*file).map(|()| None),
            Task::Convert(tensor) => convert_for_all(shops, *tensor, buffers).map(Some),
        })?;
    let mut of_outputs = vec![Vec::with_capacity(first.plan.tensors.len()); shops.len()];
    for of_tensor in reports.into_iter().flatten() {
        of_outputs.iter_mut().zip(of_tensor).for_each(|(reports, report)| reports.push(report));
    }
    Ok(of_outputs)
}

/// The entries of a tensor in the order of the outputs.
fn convert_for_all<'a>(
    shops: &[Workshop<'a>],
    tensor: usize,
    buffers: &mut Buffers,
) -> Result<Vec<TensorReport>, Stop> {
    let shared = Shared::default();
    // Schemes that rotate alike follow one another: they share what is found.
    let mut in_turn: Vec<usize> = (0..shops.len()).collect();
    in_turn.sort_by_key(|&shop| shops[shop].job.recipe.scheme().rotation().map(Rotation::most));
    let converted = in_turn.into_iter().map(|index| {
        let shop = &shops[index];
        let report = shop.convert_tensor(&shop.plan.tensors[tensor], &shared, buffers)?;
        Ok((index, report))
    });
    let reports = converted.collect::<Result<BTreeMap<_, _>, Stop>>();
    if let Some(weight) = shared.weight.into_inner() {
        buffers.keep(weight.into_bytes());
    }
    Ok(reports?.into_values().collect())
}

impl<'a> Workshop<'a> {
    fn bytes_of_work(&self) -> u64 {
        let bytes = |planned: &PlannedTensor| planned.header.byte_len();
        match self.job.recipe.rounding() {
            Rounding::Nearest => self.plan.tensors.iter().map(bytes).sum(),
            Rounding::Learned(_) => self.plan.quantized().map(|(planned, _)| bytes(planned)).sum(),
        }
    }

    /// Files of the input whose hash somebody wants and nobody has made.
    fn hashes_to_make(&self) -> impl Iterator<Item = usize> {
        let is_wanted = self.job.hash_input || self.job.recipe.tells_provenance();
        let files = 0..self.input_hashes.len();
        files.filter(move |file| is_wanted && self.input_hashes[*file].get().is_none())
    }

    fn hash_input(&self, file: usize) -> Result<(), Stop> {
        let hash = hash_file(&self.source.checkpoint.files()[file], self.watch)?;
        self.input_hashes[file].get_or_init(|| hash);
        Ok(())
    }

    fn convert_tensor(
        &self,
        planned: &PlannedTensor,
        shared: &Shared<'a>,
        buffers: &mut Buffers,
    ) -> Result<TensorReport, Stop> {
        let header = &planned.header;
        let mut report = TensorReport::planned(planned);
        if let Some(told) = self.finished.get(&header.name) {
            self.pass_finished(planned)?;
            return Ok(report.recalled(told));
        }
        let started = Instant::now();
        let written = match &planned.decision {
            Decision::Copy(_) => self.copy(header, &header.name, buffers)?,
            Decision::Rename { name, .. } => self.copy(header, name, buffers)?,
            Decision::Decode { dtype, .. } => self.decode(planned, *dtype, buffers)?,
            Decision::Repack { .. } => self.repack(planned, buffers)?,
            Decision::Quantize { scheme, .. } => {
                self.quantize(planned, *scheme, shared, &mut report, buffers)?
            }
            Decision::Merge(_) => self.merge(header, buffers)?,
            // A corrected bias is written with its weight.
            Decision::Correct(_) | Decision::Remove(_) => {
                self.passed(header.byte_len())?;
                vec![]
            }
        };
        report.seconds = started.elapsed().as_secs_f64();
        if !written.is_empty() {
            let told = Told::of(&report);
            self.output.record(&header.name, &written, told.to_json())?;
        }
        notice(self.watch, Event::Finished(&report))?;
        Ok(report)
    }

    /// Returns the names of the tensors that were written, as its sisters do.
    fn quantize(
        &self,
        planned: &PlannedTensor,
        scheme: Scheme,
        shared: &Shared<'a>,
        report: &mut TensorReport,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let header = &planned.header;
        if let Some(&height) = self.plan.bands.get(&header.name) {
            return self.quantize_banded(planned, scheme, height, report, buffers);
        }
        let weight = shared.weight(|| self.source.load_into(header, buffers.take()))?;
        let memory = buffers.take();
        let inputs = shared.inputs(|| self.rounder.inputs_of(planned.layer()))?;
        let beside = self.shared_scales.absmax_beside(planned.layer());
        let view = weight.view().beside(beside);
        let layer = Linear::from(&view).with_inputs(inputs).with_cache(&shared.findings);
        let bias = self.plan.corrected_bias(planned.layer());
        let codes = self
            .rounder
            .round(header, layer, &shared.lease, bias.is_some(), scheme, memory)
            .map_err(|error| self.stop(header, error))?;
        report.measure(codes.error);
        report.rounding = codes.rounding;
        let mut written = vec![];
        if let Some(bias) = bias {
            let correction = self.job.recipe.bias_correction();
            let bytes = bias::corrected(correction, self.source, bias, layer, &codes.matrix)?;
            self.output.write(&bias.name, &bytes)?;
            written.push(bias.name.clone());
        }
        for packed in self.plan.layout.pack(planned.layer(), codes.matrix, planned.products) {
            self.output.write(&packed.name, &packed.bytes)?;
            buffers.keep(packed.bytes);
            written.push(packed.name);
        }
        Ok(written)
    }

    pub(crate) fn stop(&self, header: &TensorHeader, error: RoundingError) -> Stop {
        match error {
            RoundingError::Scheme(SchemeError::NotFinite { .. }) => {
                Stop::NotFinite { tensor: header.name.clone() }
            }
            RoundingError::Stopped => Stop::Failed(ConvertError::Stopped),
            source => Stop::Failed(rounding_error(self.source, header, source)),
        }
    }

    /// Lets the progress jump over what an earlier run has finished.
    fn pass_finished(&self, planned: &PlannedTensor) -> Result<(), ConvertError> {
        let bytes = planned.header.byte_len();
        match planned.decision {
            Decision::Quantize { .. } => notice(self.watch, Event::Recalled { bytes }),
            Decision::Copy(_)
            | Decision::Rename { .. }
            | Decision::Decode { .. }
            | Decision::Repack { .. }
            | Decision::Correct(_)
            | Decision::Merge(_)
            | Decision::Remove(_) => self.passed(bytes),
        }
    }

    /// Bytes that were only passed on. Beside learned rounding they take no time, and counting them
    /// would make the time that is left look short.
    fn passed(&self, bytes: u64) -> Result<(), ConvertError> {
        let bytes = match self.job.recipe.rounding() {
            Rounding::Nearest => bytes,
            Rounding::Learned(_) => 0,
        };
        notice(self.watch, Event::Advanced { bytes })
    }

    /// - `name`: in the output
    fn copy(
        &self,
        header: &TensorHeader,
        name: &str,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let mut memory = buffers.take();
        memory.resize(header.byte_len().min(PIECE_BYTES) as usize, 0);
        for piece in pieces(header.byte_len()) {
            let length = piece.end - piece.start;
            let buffer = &mut memory[..length as usize];
            self.source.checkpoint.read_into(header, piece.start, buffer)?;
            self.output.write_part(name, piece.start, buffer)?;
            self.passed(length)?;
        }
        if header.byte_len() == 0 {
            self.output.write(name, &[])?;
        }
        buffers.keep(memory);
        Ok(vec![name.to_owned()])
    }

    /// Numbers of the same dtype, with what adapters add.
    fn merge(&self, header: &TensorHeader, buffers: &mut Buffers) -> Result<Vec<String>, Stop> {
        let values = self.source.merged_numbers(header)?;
        let mut bytes = buffers.take();
        bytes.clear();
        narrow(header.dtype, &values, &mut bytes);
        self.output.write(&header.name, &bytes)?;
        buffers.keep(bytes);
        self.passed(header.byte_len())?;
        Ok(vec![header.name.clone()])
    }

    fn decode(
        &self,
        planned: &PlannedTensor,
        dtype: PlainDtype,
        buffers: &mut Buffers,
    ) -> Result<Vec<String>, Stop> {
        let memory = buffers.take();
        let bytes = match planned.is_merged {
            true => {
                let weight = self.source.load_into(&planned.header, buffers.take())?;
                dtype.stored(&weight.view().to_f32(), memory)
            }
            false => dtype.decoded(&self.codes_of(planned)?, memory),
        };
        let name = planned.weight_name();
        self.output.write(&name, &bytes)?;
        buffers.keep(bytes);
        self.passed(planned.header.byte_len())?;
        Ok(vec![name])
    }

    /// The same codes and scales in the tensors of the output's layout.
    fn repack(&self, planned: &PlannedTensor, buffers: &mut Buffers) -> Result<Vec<String>, Stop> {
        let matrix = self.codes_of(planned)?;
        let mut written = vec![];
        for packed in self.plan.layout.pack(planned.layer(), matrix, planned.products) {
            self.output.write(&packed.name, &packed.bytes)?;
            buffers.keep(packed.bytes);
            written.push(packed.name);
        }
        if let Some(spec) = planned.input_scale_spec() {
            let scale = self.rounder.input_scale_of(planned.layer())?;
            self.output.write(&spec.name, &scale.to_le_bytes())?;
            written.push(spec.name);
        }
        self.passed(planned.header.byte_len())?;
        Ok(written)
    }

    fn codes_of(&self, planned: &PlannedTensor) -> Result<QuantizedMatrix, ConvertError> {
        let stored = self.source.stored_layer(&planned.header);
        self.source.codes(stored.expect("the plan decodes and moves layers in codes only"))
    }
}

pub(crate) fn rounding_error(
    source: &Source,
    header: &TensorHeader,
    error: RoundingError,
) -> ConvertError {
    ConvertError::Rounding {
        path: source.checkpoint.path().to_owned(),
        tensor: header.name.clone(),
        source: error,
    }
}
