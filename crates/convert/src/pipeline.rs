use std::time::Instant;

use half::bf16;
use roundwise_rounding::{Linear, RoundingError};
use roundwise_scheme::{QuantizedMatrix, ScaleRule, SchemeError, choose_scales, measure};
use roundwise_tensor_file::{Manifest, PIECE_BYTES, TensorFileWriter, TensorHeader, pieces};

use crate::bias;
use crate::buffers::Buffers;
use crate::hash::hash_files;
use crate::layer_inputs::LayerInputs;
use crate::parallel::map_in_order;
use crate::plan::NotFinite;
use crate::rounder::Rounder;
use crate::watch::notice;
use crate::{
    ConvertError, Decision, Event, Job, Plan, PlannedTensor, Report, Rounding, Source,
    TensorReport, Watch,
};

/// Converts one file: read, plan, round, lay out, write, report.
///
/// The output appears under its name only when it is complete and on disk; whatever goes wrong
/// before leaves nothing behind. A weight that holds a NaN or an infinity is found only when it is
/// read: it is then kept, and the work begins again with a new plan.
///
/// # Errors
/// As [`Plan::decide`]; [`ConvertError::OutputIsInput`], [`ConvertError::NothingToConvert`],
/// [`ConvertError::Stopped`], and whatever the files answer.
pub fn convert(job: &Job, watch: &dyn Watch) -> Result<Report, ConvertError> {
    let started = Instant::now();
    let source = open_source(job)?;
    let rounder = Rounder::new(job, &source, watch)?;
    let mut not_finite = NotFinite::new();
    if let Rounding::Learned(_) = job.recipe.rounding() {
        // A search takes long; beginning it again because of another weight would be a waste.
        let plan = Plan::decide(&source, &job.recipe, &not_finite)?;
        not_finite = find_not_finite(job, &source, &plan, watch)?;
    }
    let mut report = loop {
        let plan = Plan::decide(&source, &job.recipe, &not_finite)?;
        let manifest = planned_manifest(&source, &plan)?;
        let output = TensorFileWriter::create(&job.output, manifest, job.overwrite)?;
        notice(watch, Event::Created { unfinished: output.temporary_path() })?;
        let shop = Workshop {
            job,
            source: &source,
            plan: &plan,
            rounder: &rounder,
            output: &output,
            watch,
        };
        match shop.convert_all() {
            Ok(layers) => {
                let mut report = Report::of(&plan, job, rounder.engine(), layers);
                if job.hash_input {
                    report.input_hashes = hash_files(&source.checkpoint, job.threads, watch)?;
                }
                notice(watch, Event::Syncing)?;
                let committed = output.commit()?;
                report.output_bytes = committed.bytes;
                report.sync_seconds = committed.sync_time.as_secs_f64();
                break report;
            }
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::NotFinite { tensor }) => {
                notice(watch, Event::NotFinite { tensor: &tensor })?;
                drop(output);
                not_finite.extend(find_not_finite(job, &source, &plan, watch)?);
            }
        }
    };
    report.input_bytes = source.checkpoint.total_bytes();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Finds what is wrong with a job before it is begun, from headers and markers alone.
///
/// # Errors
/// As [`convert`], but for what only shows while weights are read and written.
pub fn check(job: &Job) -> Result<(), ConvertError> {
    let source = open_source(job)?;
    let plan = Plan::decide(&source, &job.recipe, &NotFinite::new())?;
    planned_manifest(&source, &plan)?;
    LayerInputs::of_recipe(&job.recipe, job.statistics.as_ref(), &source)?;
    Ok(())
}

/// Why the work on an output ended early.
enum Stop {
    Failed(ConvertError),
    NotFinite { tensor: String },
}

impl<E: Into<ConvertError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

/// What a thread needs in order to convert a tensor.
struct Workshop<'a> {
    job: &'a Job,
    source: &'a Source,
    plan: &'a Plan,
    rounder: &'a Rounder<'a>,
    output: &'a TensorFileWriter,
    watch: &'a dyn Watch,
}

impl Workshop<'_> {
    fn convert_all(&self) -> Result<Vec<TensorReport>, Stop> {
        let tensors = &self.plan.tensors;
        let bytes = match self.job.recipe.rounding() {
            Rounding::Nearest => tensors.iter().map(|planned| planned.header.byte_len()).sum(),
            Rounding::Learned(_) => {
                self.plan.quantized().map(|(planned, _)| planned.header.byte_len()).sum()
            }
        };
        notice(self.watch, Event::Started { tensors: tensors.len(), bytes })?;
        for (spec, bytes) in self.plan.file_tensors() {
            self.output.write(&spec.name, &bytes)?;
        }
        map_in_order(tensors, self.job.tensors_in_flight(), |planned, buffers| {
            self.convert_tensor(planned, buffers)
        })
    }

    fn convert_tensor(
        &self,
        planned: &PlannedTensor,
        buffers: &mut Buffers,
    ) -> Result<TensorReport, Stop> {
        let started = Instant::now();
        let header = &planned.header;
        let mut report = TensorReport::planned(planned);
        match &planned.decision {
            Decision::Copy(_) => self.copy(header, buffers)?,
            Decision::Decode(_) => self.decode(header, buffers)?,
            Decision::Quantize { scheme, .. } => {
                let weight = self.source.load_into(header, buffers.take())?;
                let memory = buffers.take();
                let inputs = self.rounder.inputs_of(planned.layer())?;
                let layer = Linear { weight: &weight.view(), inputs: inputs.as_ref() };
                let bias = self.plan.corrected_bias(planned.layer());
                let (rounded, rounding) = self
                    .rounder
                    .round(header, layer, bias.is_some(), *scheme, memory)
                    .map_err(|error| self.stop(header, error))?;
                report = report.measured(measure(&weight.view(), &rounded));
                report.rounding = rounding;
                if let Some(bias) = bias {
                    self.correct_bias(bias, layer, &rounded)?;
                }
                for packed in self.plan.layout.pack(planned.layer(), rounded, planned.products) {
                    self.output.write(&packed.name, &packed.bytes)?;
                    buffers.keep(packed.bytes);
                }
                buffers.keep(weight.into_bytes());
            }
            // A corrected bias is written with its weight.
            Decision::Correct(_) | Decision::Remove(_) => self.passed(header.byte_len())?,
        }
        report.seconds = started.elapsed().as_secs_f64();
        notice(self.watch, Event::Finished(&report))?;
        Ok(report)
    }

    fn stop(&self, header: &TensorHeader, error: RoundingError) -> Stop {
        match error {
            RoundingError::Scheme(SchemeError::NotFinite { .. }) => {
                Stop::NotFinite { tensor: header.name.clone() }
            }
            RoundingError::Stopped => Stop::Failed(ConvertError::Stopped),
            source => Stop::Failed(rounding_error(self.source, header, source)),
        }
    }

    fn correct_bias(
        &self,
        bias: &TensorHeader,
        layer: Linear<'_>,
        rounded: &QuantizedMatrix,
    ) -> Result<(), Stop> {
        let correction = self.job.recipe.bias_correction();
        let bytes = bias::corrected(correction, self.source, bias, layer, rounded)?;
        self.output.write(&bias.name, &bytes)?;
        Ok(())
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

    fn copy(&self, header: &TensorHeader, buffers: &mut Buffers) -> Result<(), Stop> {
        let mut memory = buffers.take();
        memory.resize(header.byte_len().min(PIECE_BYTES) as usize, 0);
        for piece in pieces(header.byte_len()) {
            let length = piece.end - piece.start;
            let buffer = &mut memory[..length as usize];
            self.source.checkpoint.read_into(header, piece.start, buffer)?;
            self.output.write_part(&header.name, piece.start, buffer)?;
            self.passed(length)?;
        }
        if header.byte_len() == 0 {
            self.output.write(&header.name, &[])?;
        }
        buffers.keep(memory);
        Ok(())
    }

    fn decode(&self, header: &TensorHeader, buffers: &mut Buffers) -> Result<(), Stop> {
        let weight = self.source.load_into(header, buffers.take())?;
        let view = weight.view();
        let mut values = vec![0.0; view.cols()];
        let mut bytes = buffers.take();
        bytes.clear();
        bytes.reserve_exact(view.rows() * view.cols() * 2);
        for row in 0..view.rows() {
            view.widen_row(row, &mut values);
            // Not the grid's encoder: what was a NaN or an infinity stays one.
            bytes.extend(values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()));
        }
        self.output.write(&header.name, &bytes)?;
        buffers.keep(bytes);
        buffers.keep(weight.into_bytes());
        self.passed(header.byte_len())?;
        Ok(())
    }
}

fn open_source(job: &Job) -> Result<Source, ConvertError> {
    let source = Source::open(&job.input)?;
    match source.checkpoint.same_file_as(&job.output) {
        true => Err(ConvertError::OutputIsInput { path: job.output.clone() }),
        false => Ok(source),
    }
}

fn planned_manifest(source: &Source, plan: &Plan) -> Result<Manifest, ConvertError> {
    match plan.quantized().next() {
        Some(_) => Ok(plan.manifest()?),
        None => Err(nothing_to_convert(source, plan)),
    }
}

fn nothing_to_convert(source: &Source, plan: &Plan) -> ConvertError {
    const SHOWN: usize = 5;
    let kept = plan.kept_reasons().into_iter().take(SHOWN);
    let kept = kept.map(|(reason, count)| format!("{count} kept: {reason}"));
    let notes = plan.notes.iter().map(|note| format!("note: {note}"));
    let reasons: Vec<String> = kept.chain(notes).collect();
    let path = source.checkpoint.path().to_owned();
    ConvertError::NothingToConvert { path, reasons: reasons.join("\n  ") }
}

/// All weights with a NaN or an infinity, so that the work begins again only once.
fn find_not_finite(
    job: &Job,
    source: &Source,
    plan: &Plan,
    watch: &dyn Watch,
) -> Result<NotFinite, ConvertError> {
    let quantized: Vec<_> = plan.quantized().collect();
    let bytes = quantized.iter().map(|(planned, _)| planned.header.byte_len()).sum();
    notice(watch, Event::Started { tensors: quantized.len(), bytes })?;
    let rows = map_in_order(&quantized, job.threads, |(planned, scheme), _| {
        let header = &planned.header;
        let weight = source.load(header)?;
        notice(watch, Event::Advanced { bytes: header.byte_len() })?;
        match choose_scales(&weight.view(), *scheme, ScaleRule::Absmax) {
            Ok(_) => Ok(None),
            Err(SchemeError::NotFinite { row }) => Ok(Some((header.name.clone(), row))),
            Err(error) => Err(rounding_error(source, header, error.into())),
        }
    })?;
    Ok(rows.into_iter().flatten().collect())
}

fn rounding_error(source: &Source, header: &TensorHeader, error: RoundingError) -> ConvertError {
    ConvertError::Rounding {
        path: source.checkpoint.path().to_owned(),
        tensor: header.name.clone(),
        source: error,
    }
}
