use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use roundwise_compute::{ComputeError, Device, Engine, Engines, Lease};
use roundwise_rounding::{
    Inputs, Linear, Objective, Options, Progress, Rounded, RoundingError, round,
};
use roundwise_scheme::{QuantizedMatrix, Scheme, WeightError, measure};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::plan::Plan;
use crate::plan::edit::input_scale;
use crate::recipe::Rounding;
use crate::report::LayerRounding;
use crate::run::job::Job;
use crate::source::Source;
use crate::source::layer_inputs::LayerInputs;
use crate::watch::{Event, Watch};
use roundwise_rounding::BiasCorrection;

/// Chooses the codes of weights, as the recipe says.
pub(crate) struct Rounder<'a> {
    job: &'a Job,
    /// What a search minimises, and where it is computed; nearest codes need none.
    search: Option<(Options, Engines)>,
    inputs: Option<LayerInputs>,
    watch: &'a dyn Watch,
}

/// What becomes of a weight.
pub(crate) struct Codes {
    pub(crate) matrix: QuantizedMatrix,
    /// Of these very codes.
    pub(crate) error: WeightError,
    pub(crate) rounding: Option<LayerRounding>,
}

impl<'a> Rounder<'a> {
    /// Makes the devices ready where the method computes on some, and opens the statistics.
    ///
    /// # Errors
    /// When a device that was asked for cannot be used, or as [`LayerInputs::of_recipe`].
    pub(crate) fn new(
        job: &'a Job,
        source: &Source,
        watch: &'a dyn Watch,
    ) -> Result<Self, ConvertError> {
        let inputs = LayerInputs::of_recipe(&job.recipe, job.statistics.as_ref(), source)?;
        let search = match job.recipe.rounding() {
            Rounding::Nearest => None,
            Rounding::Learned(options) => Some((options, job.devices.resolve()?)),
        };
        Ok(Self { job, search, inputs, watch })
    }

    /// Tells files of statistics apart, where there is one.
    pub(crate) fn statistics_fingerprint(&self) -> Option<String> {
        self.inputs.as_ref().map(LayerInputs::file_fingerprint)
    }

    /// BLAKE3 of the file of statistics, where there is one.
    ///
    /// # Errors
    /// As [`LayerInputs::file_hash`].
    pub(crate) fn statistics_hash(&self) -> Result<Option<String>, ConvertError> {
        self.inputs.as_ref().map(|inputs| inputs.file_hash(self.watch)).transpose()
    }

    /// What is known of the inputs of a layer, if anything.
    ///
    /// # Errors
    /// As [`LayerInputs::of`].
    pub(crate) fn inputs_of(&self, layer: &str) -> Result<Option<Inputs>, ConvertError> {
        self.inputs.as_ref().map_or(Ok(None), |inputs| inputs.of(layer))
    }

    /// Finds out whether there are statistics of every layer that is to get an activation scale.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] for the first one without.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), ConvertError> {
        let Some(inputs) = &self.inputs else { return Ok(()) };
        let mut scaled = plan.tensors.iter().filter(|planned| planned.gets_input_scale);
        scaled.try_for_each(|planned| inputs.largest_rms(planned.layer()).map(drop))
    }

    /// The activation scale of a layer, from statistics of its inputs.
    ///
    /// # Errors
    /// As [`LayerInputs::largest_rms`].
    pub(crate) fn input_scale_of(&self, layer: &str) -> Result<f32, ConvertError> {
        let inputs = self.inputs.as_ref().expect("a recipe with activation scales has statistics");
        Ok(input_scale(inputs.largest_rms(layer)?))
    }

    /// Where learned rounding is computed.
    pub(crate) fn engines(&self) -> Option<&Engines> {
        self.search.as_ref().map(|(_, engines)| engines)
    }

    /// The codes of one weight, their error, and what learned rounding did. `memory` is reused.
    ///
    /// - `lease`: of the device, for all that is made of one weight; taken with the first search
    /// - `has_own_bias`: whether the bias of the layer takes up the mean error, if the recipe says so
    ///
    /// # Errors
    /// As [`round`], but for what goes wrong in the computation itself: then nearest codes are the
    /// result, and the report says why.
    pub(crate) fn round<'s>(
        &'s self,
        header: &TensorHeader,
        layer: Linear<'_>,
        lease: &OnceCell<Lease<'s>>,
        has_own_bias: bool,
        scheme: Scheme,
        memory: Vec<u8>,
    ) -> Result<Codes, RoundingError> {
        let mut steps = Steps { watch: self.watch, header, advanced: 0 };
        let rule = self.job.recipe.scale_rule();
        let nearest = |memory, rounding| {
            let nearest = QuantizedMatrix::nearest_measured(layer.weight, scheme, rule, memory);
            nearest.map(|(matrix, error)| Codes { matrix, error, rounding })
        };
        let codes = match &self.search {
            None => nearest(memory, None)?,
            Some((options, _)) if needs_inputs(options) && layer.inputs.is_none() => {
                nearest(memory, Some(LayerRounding::without_statistics(options)))?
            }
            Some((options, engines)) => {
                let engine = lease.get_or_init(|| engines.lease()).engine();
                let seed = seed_of(&header.name);
                let is_centred = has_own_bias && options.bias_correction == BiasCorrection::Inputs;
                let centred = match layer.inputs.filter(|_| is_centred) {
                    Some(inputs) => Some(inputs.about_mean()?),
                    None => None,
                };
                let inputs = centred.as_ref().or(layer.inputs);
                let layer = layer.with_inputs(inputs);
                let search = || round(layer, scheme, rule, options, engine, seed, &mut steps);
                match on_device(engine, search) {
                    Ok(Rounded { matrix, report }) => {
                        let error = measure(layer.weight, &matrix);
                        Codes { matrix, error, rounding: Some(report.into()) }
                    }
                    Err(RoundingError::Compute(error)) => {
                        let failed = LayerRounding::failed(options, error.to_string());
                        nearest(memory, Some(failed))?
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        match steps.advance_to(header.byte_len()) {
            ControlFlow::Continue(()) => Ok(codes),
            ControlFlow::Break(()) => Err(RoundingError::Stopped),
        }
    }
}

fn needs_inputs(options: &Options) -> bool {
    matches!(options.objective, Objective::Activations { .. })
}

/// Runs a search. The CUDA backend answers an allocation that fails with a panic: that ends the
/// search of this weight, not the conversion. A panic on the CPU is a bug of ours and goes on.
fn on_device(
    engine: &Engine,
    search: impl FnOnce() -> Result<Rounded, RoundingError>,
) -> Result<Rounded, RoundingError> {
    let device = engine.device();
    if !matches!(device, Device::Cuda(_)) {
        return search();
    }
    catch_unwind(AssertUnwindSafe(search)).unwrap_or_else(|_| {
        let reason = "it ran out of memory, or an operation on it failed".to_owned();
        Err(ComputeError::CudaUnusable { device, reason }.into())
    })
}

/// Turns the steps of a search into events of the conversion.
struct Steps<'a> {
    watch: &'a dyn Watch,
    header: &'a TensorHeader,
    /// Bytes of the weight that count as done.
    advanced: u64,
}

impl Steps<'_> {
    fn advance_to(&mut self, bytes: u64) -> ControlFlow<()> {
        let step = bytes.saturating_sub(self.advanced);
        self.advanced += step;
        self.watch.notice(Event::Advanced { bytes: step })
    }
}

impl roundwise_rounding::Watch for Steps<'_> {
    fn notice(&mut self, progress: Progress) -> ControlFlow<()> {
        let objective_ratio = progress.projected_ratio.sqrt();
        self.watch.notice(Event::Rounding { tensor: &self.header.name, objective_ratio })?;
        let share = progress.step as f64 / progress.steps.max(1) as f64;
        self.advance_to((self.header.byte_len() as f64 * share.min(1.0)) as u64)
    }
}

/// What is random about a weight follows from its name, so that a part of a model is rounded like
/// the whole.
pub(crate) fn seed_of(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}
