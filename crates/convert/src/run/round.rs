use std::ops::ControlFlow;

use roundwise_compute::Engine;
use roundwise_rounding::{
    BiasCorrection, Linear, Objective, Options, Progress, Rounded, RoundingError, round,
    squared_output_errors,
};
use roundwise_scheme::{
    QuantizedMatrix, ScaleRule, Scheme, Weight, WeightError, choose_scales, measure,
};
use roundwise_tensor_file::TensorHeader;

use crate::plan::PlannedTensor;
use crate::report::LayerRounding;
use crate::report::watch::{Event, Watch, notice};
use crate::run::bands::below;
use crate::run::buffers::Buffers;
use crate::run::input::Input;
use crate::run::lazy::Lazy;
use crate::run::stop::Stop;
use crate::source::UsedMoment;
use crate::source::layer_inputs::KnownInputs;

/// Codes of a weight.
pub(crate) struct Codes {
    pub(crate) matrix: QuantizedMatrix,
    /// Of these very codes.
    pub(crate) error: WeightError,
    pub(crate) rounding: Option<LayerRounding>,
}

/// A matrix that is rounded by itself: a weight, or an expert of a bank.
#[derive(Clone, Copy)]
struct Target<'a> {
    header: &'a TensorHeader,
    seed: u64,
    /// Its share of the tensor, for the progress.
    bytes: u64,
}

impl<'a> Target<'a> {
    fn weight(header: &'a TensorHeader) -> Self {
        Self { header, seed: seed_of(&header.name), bytes: header.byte_len() }
    }

    fn expert(header: &'a TensorHeader, expert: usize, experts: usize) -> Self {
        let seed = seed_of(&format!("{}.{expert}", header.name));
        Self { header, seed, bytes: header.byte_len() / experts.max(1) as u64 }
    }
}

impl Input {
    /// Rounds a weight as its plan wants it.
    ///
    /// - `absmax_beside`: largest magnitude of the weights that share its scale, 0 without any
    /// - `has_own_bias`: whether the bias of the layer is corrected with it
    ///
    /// # Errors
    /// As [`Input::round`], and when weight or statistics cannot be read.
    pub(crate) fn round_planned<'a>(
        &'a self,
        planned: &PlannedTensor,
        scheme: Scheme,
        has_own_bias: bool,
        absmax_beside: f32,
        lazy: &Lazy<'a>,
        buffers: &mut Buffers,
    ) -> Result<Codes, Stop> {
        let header = &planned.header;
        let view = lazy.weight(header, buffers)?.view().beside(absmax_beside);
        if planned.keeps_codes() && planned.scheme() == Some(scheme) {
            return self.keep_codes(planned, &view, lazy.watch);
        }
        let layer = lazy.layer(planned, &view)?;
        self.round(Target::weight(header), layer, lazy, has_own_bias, scheme, buffers.take())
            .map_err(|error| Stop::rounding(&self.source, header, error))
    }

    /// Returns the codes of a weight that the input has.
    ///
    /// # Errors
    /// When they cannot be read, stand for a NaN or an infinity, or the watcher says stop.
    fn keep_codes(
        &self,
        planned: &PlannedTensor,
        view: &Weight<'_>,
        watch: &dyn Watch,
    ) -> Result<Codes, Stop> {
        let header = &planned.header;
        let stored = self.source.stored_layer(header).expect("the plan keeps codes that are there");
        // Like those of any rounding: a NaN is found by the choice of scales.
        choose_scales(view, stored.scheme, ScaleRule::Absmax)
            .map_err(|error| Stop::rounding(&self.source, header, error.into()))?;
        let matrix = self.source.codes(stored)?;
        notice(watch, Event::Advanced { bytes: header.byte_len() })?;
        Ok(Codes { error: measure(view, &matrix), matrix, rounding: None })
    }

    /// Rounds one expert of a bank as its plan wants it.
    ///
    /// - `lazy`: of this expert
    ///
    /// # Errors
    /// As [`Input::round_planned`]; rows are counted from the top of the bank.
    pub(crate) fn round_expert<'a>(
        &'a self,
        planned: &PlannedTensor,
        expert: usize,
        scheme: Scheme,
        lazy: &Lazy<'a>,
        buffers: &mut Buffers,
    ) -> Result<Codes, Stop> {
        let (header, [rows, _]) = (&planned.header, planned.matrix_shape());
        let target = Target::expert(header, expert, planned.experts().unwrap_or(1));
        let view = lazy.weight(header, buffers)?.view();
        let layer = lazy.layer(planned, &view)?;
        self.round(target, layer, lazy, false, scheme, buffers.take()).map_err(|error| {
            let error = match error {
                RoundingError::Scheme(error) => below(error, expert * rows).into(),
                error => error,
            };
            Stop::rounding(&self.source, header, error)
        })
    }

    /// Rounds one matrix: its codes, their error, and what learned rounding did. `memory` is reused.
    ///
    /// - `lazy`: what is known of the weight, and the device that its searches are computed on
    /// - `has_own_bias`: whether the bias of the layer takes up the mean error, if the recipe says so
    ///
    /// # Errors
    /// As [`round`], but for what goes wrong in the computation itself: then nearest codes are the
    /// result, and the report says why.
    fn round<'a>(
        &'a self,
        target: Target<'_>,
        layer: Linear<'_>,
        lazy: &Lazy<'a>,
        has_own_bias: bool,
        scheme: Scheme,
        memory: Vec<u8>,
    ) -> Result<Codes, RoundingError> {
        let mut steps = Steps { watch: lazy.watch, target, advanced: 0 };
        let nearest = |memory, rounding| {
            let rule = self.recipe.scale_rule_without_inputs();
            let nearest = QuantizedMatrix::nearest_measured(layer.weight, scheme, rule, memory);
            nearest.map(|(matrix, error)| Codes { matrix, error, rounding })
        };
        let codes = match &self.search {
            None => nearest(memory, None)?,
            // Statistics rarely cover a whole file, such as layers that no prompt reached. Nearest codes are right for
            // them, and the report says which they were.
            Some((options, _)) if needs_inputs(options) && layer.inputs.is_none() => {
                nearest(memory, Some(LayerRounding::without_statistics(options)))?
            }
            Some((options, engines)) => {
                let engine = lazy.engine(engines);
                let seed = target.seed;
                // A bias that takes up the mean error leaves the error about the mean to the codes.
                let is_centred =
                    has_own_bias && self.recipe.bias_correction() == BiasCorrection::Inputs;
                let centred = match layer.inputs.filter(|_| is_centred) {
                    Some(inputs) => Some(inputs.about_mean()?),
                    None => None,
                };
                let inputs = centred.as_ref().or(layer.inputs);
                let layer = layer.with_inputs(inputs);
                let rule = self.recipe.scale_rule(scheme, needs_inputs(options));
                let known = lazy.known_inputs().filter(|_| needs_inputs(options));
                let search = |engine: &Engine| {
                    let rounded = round(layer, scheme, rule, options, engine, seed, &mut steps)?;
                    let loss = predicted_loss(layer, known, &rounded.matrix, engine)?;
                    Ok::<_, RoundingError>((rounded, loss))
                };
                match engine.run(search) {
                    Ok(((Rounded { matrix, report }, loss), venue)) => {
                        // Measured on the codes that are stored, and not taken from the search: its sums are in another order, and
                        // the check of the output compares them bit for bit.
                        let error = measure(layer.weight, &matrix);
                        let moment = known.map(|known| known.moment);
                        let rounding =
                            LayerRounding { moment, predicted_loss: loss, ..report.into() };
                        let rounding = rounding.with_venue(venue);
                        Codes { matrix, error, rounding: Some(rounding) }
                    }
                    // A search that fails costs the weight its better codes, not the conversion.
                    Err(RoundingError::Compute(error)) => {
                        let failed = LayerRounding::failed(options, error.to_string());
                        nearest(memory, Some(failed))?
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        // The rest: what a search has not told on its way, and all of it for nearest codes.
        match steps.advance_to(target.bytes) {
            ControlFlow::Continue(()) => Ok(codes),
            ControlFlow::Break(()) => Err(RoundingError::Stopped),
        }
    }
}

/// Returns the loss of the model that codes are predicted to cost, per prediction: ½ · tr(E H_w Eᵀ) / m, or
/// ½ · ḡ · tr(EHEᵀ) where only the mean square of gradients is known.
///
/// - `layer`: with the statistics that count for it
/// - `known`: those of the file
///
/// H is that of the inputs as they are: gradients are of single tokens, not of what attention mixes.
fn predicted_loss(
    layer: Linear<'_>,
    known: Option<&KnownInputs>,
    matrix: &QuantizedMatrix,
    engine: &Engine,
) -> Result<Option<f64>, RoundingError> {
    let Some(known) = known else { return Ok(None) };
    let Some(gradient) = known.gradient else { return Ok(None) };
    let layer = layer.with_inputs(known.plain.as_ref().or(layer.inputs));
    let error = squared_output_errors(layer, matrix, engine)?;
    // Half the Fisher form is the divergence from the float model to second order. Measured layer
    // by layer on a small language model, the median ratio of the two was within 10 % of 1, and
    // Spearman's coefficient 0.93 to 0.95.
    Ok(Some(match known.moment {
        UsedMoment::Weighted => 0.5 * error / layer.weight.rows().max(1) as f64,
        UsedMoment::Inputs | UsedMoment::Mixed => 0.5 * f64::from(gradient) * error,
    }))
}

fn needs_inputs(options: &Options) -> bool {
    matches!(options.objective, Objective::Activations { .. })
}

/// Turns the steps of a search into events of the conversion.
struct Steps<'a> {
    watch: &'a dyn Watch,
    target: Target<'a>,
    /// Bytes of the target that count as done.
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
        // The search compares squares; people are told the ratio of the norms.
        let objective_ratio = progress.projected_ratio.sqrt();
        let (step, steps) = (progress.step, progress.steps);
        let tensor = &self.target.header.name;
        self.watch.notice(Event::Search { tensor, step, steps, objective_ratio })?;
        // A search that goes past its estimate must not advance past the weight.
        let share = progress.step as f64 / progress.steps.max(1) as f64;
        self.advance_to((self.target.bytes as f64 * share.min(1.0)) as u64)
    }
}

/// Derives the seed of a weight from its name, so that a part of a model is rounded like the whole.
pub(crate) fn seed_of(name: &str) -> u64 {
    // A hash that is the same on every machine and in every version, unlike that of the standard
    // library.
    let hash = blake3::hash(name.as_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}
