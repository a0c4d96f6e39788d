//! Measures what each layer loses in each scheme, one reading of the weights for all of them.

mod cache;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_scheme::{Rotation, Scheme};

use crate::error::ConvertError;
use crate::plan::memory::tensors_in_flight;
use crate::plan::{
    Card, Decision, Limits, NotFinite, Plan, PlannedTensor, Reason, SchemeLoss, Sensitivity,
    Workers,
};
use crate::recipe::{Complaint, Recipe, RecipeFile, Setting, Text};
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::run::bank::round_bank;
use crate::run::buffers::Buffers;
use crate::run::convert::Prepared;
use crate::run::input::Input;
use crate::run::job::Job;
use crate::run::lazy::Lazy;
use crate::run::not_finite::find_not_finite_among;
use crate::run::planned_job::PlannedJob;
use crate::run::pool::map_in_order;
use crate::run::sensitivity::cache::{Cache, Found};
use crate::run::stop::Stop;
use crate::source::LayerInputs;

/// What a search for sensitivities goes through.
#[derive(Clone, Debug)]
pub struct SensitivityRequest<'a> {
    /// Input, method and statistics; its scheme and its output are ignored.
    pub job: &'a Job,
    /// The schemes, each of which the layout must be able to store; of doubles the first counts. Where none
    /// are named, those that suit the card.
    pub schemes: &'a [Scheme],
    /// The card that the output is for.
    pub card: Card,
    /// File that keeps what was measured, if any. What it holds of another model, other statistics or
    /// another recipe is measured again; a file of another kind is refused.
    pub cache: Option<&'a Path>,
}

/// The plans of a model in every scheme, before anything is measured.
pub(crate) struct Measuring {
    pub(crate) prepared: Prepared,
    /// Of the plans, in their order.
    pub(crate) schemes: Vec<Scheme>,
}

/// Returns the name of the file beside an input that keeps its sensitivity.
pub fn default_sensitivity(input: &Path) -> PathBuf {
    let name = input.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| "model".to_owned());
    let base = name.strip_suffix(".safetensors").unwrap_or(&name);
    input.with_file_name(format!("{base}.sensitivity.json"))
}

/// Measures the loss of every layer that its recipe converts, in every scheme.
///
/// # Errors
/// As [`Prepared::new`]; [`ConvertError::Misfit`] when the layout cannot store a scheme that is named, or when
/// the cache is a file of another kind, [`ConvertError::Stopped`]. What is measured by then is kept in the cache.
pub fn sensitivity(
    request: &SensitivityRequest<'_>,
    watch: &dyn Watch,
) -> Result<Sensitivity, ConvertError> {
    let (sensitivity, _) = Measuring::new(request)?.measure(request.cache, watch)?;
    Ok(sensitivity)
}

impl Measuring {
    /// Plans the model in every scheme that its layout can store.
    ///
    /// # Errors
    /// As [`sensitivity`], but for what only shows while weights are read.
    pub(crate) fn new(request: &SensitivityRequest<'_>) -> Result<Self, ConvertError> {
        let (schemes, jobs) = jobs(request)?;
        Ok(Self { prepared: Prepared::new(&jobs[0], &jobs[1..])?, schemes })
    }

    /// Measures what an earlier run has not. Weights that hold a NaN or an infinity have no losses, and are
    /// returned beside them.
    ///
    /// # Errors
    /// As [`sensitivity`].
    pub(crate) fn measure(
        &self,
        path: Option<&Path>,
        watch: &dyn Watch,
    ) -> Result<(Sensitivity, NotFinite), ConvertError> {
        let Self { prepared, schemes } = self;
        let PlannedJob { job, plan, .. } = &prepared.planned[0];
        let cache = Cache::open(path, job, &prepared.input)?;
        let work = self.work(&cache.found);
        let bytes = work.iter().map(|(planned, _)| planned.header.byte_len()).sum();
        notice(watch, Event::Phase { name: Phase::Converting, tensors: work.len(), bytes })?;
        let workers = Workers { threads: plan.memory.threads, ..job.workers() };
        let threads = tensors_in_flight(job.recipe.rounding(), workers);
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        let measured = map_in_order(&work, threads, |(planned, schemes), buffers| {
            let (losses, not_finite) = measure(&prepared.input, planned, schemes, watch, buffers)?;
            cache.add(planned.layer(), losses)?;
            let named = |row| (planned.header.name.clone(), row);
            Ok::<_, ConvertError>(not_finite.map(named))
        });
        // Saved before an error is returned: what was measured is kept whatever ended the work.
        let (found, added) = cache.close()?;
        let measured = measured.map_err(|error| match path.filter(|_| added > 0) {
            Some(path) => ConvertError::MeasuringEnded {
                source: Box::new(error),
                measured: added,
                layers: work.len(),
                path: path.to_owned(),
            },
            None => error,
        });
        // Without losses nothing was kept of these, so that every run meets them again.
        let not_finite = measured?.into_iter().flatten().collect();
        let curvature = prepared.input.statistics().and_then(LayerInputs::curvature);
        let of_plans = layers(prepared, schemes);
        let layers = found.into_iter().filter_map(|(layer, mut losses)| {
            let planned = of_plans.get(layer.as_str())?;
            // The cache may know more, from a request with other schemes.
            losses.retain(|scheme, _| planned.contains(scheme));
            (!losses.is_empty()).then_some((layer, losses))
        });
        Ok((Sensitivity { curvature, layers: layers.collect() }, not_finite))
    }

    /// Finds weights with a NaN or an infinity that become codes whatever a budget chooses, such as those that a
    /// rule names: nothing of them is measured.
    ///
    /// # Errors
    /// As [`sensitivity`].
    pub(crate) fn not_finite_of_others(
        &self,
        watch: &dyn Watch,
    ) -> Result<NotFinite, ConvertError> {
        let mut found = NotFinite::new();
        let mut seen = BTreeSet::new();
        // Plain numbers alone are possible for some weights, so that one plan does not have all of them.
        for plan in self.prepared.plans() {
            let is_other = |planned: &PlannedTensor| {
                free_scheme(planned).is_none() && !seen.contains(&planned.header.name)
            };
            let source = &self.prepared.input.source;
            found.extend(find_not_finite_among(source, plan, &is_other, watch)?);
            seen.extend(plan.quantized().map(|(planned, _)| planned.header.name.clone()));
        }
        Ok(found)
    }

    /// Plans again with weights kept for a NaN or an infinity.
    ///
    /// # Errors
    /// As [`Plan::decide`].
    pub(crate) fn keep(&mut self, not_finite: &NotFinite) -> Result<(), ConvertError> {
        let Prepared { planned, input, .. } = &mut self.prepared;
        planned.iter_mut().try_for_each(|job| job.keep(not_finite.clone(), input))
    }

    /// Returns the weights that are still to be measured.
    fn work(&self, found: &Found) -> Vec<Work<'_>> {
        let plans: Vec<&Plan> = self.prepared.plans().collect();
        let is_missing = |layer: &str, scheme: &Scheme| {
            found.get(layer).is_none_or(|losses| !losses.contains_key(&scheme.to_string()))
        };
        let of_tensor = |index: usize| -> Option<Work<'_>> {
            let first = &plans[0].tensors[index];
            let mut wanted: Vec<Scheme> = plans
                .iter()
                .filter_map(|plan| free_scheme(&plan.tensors[index]))
                .filter(|scheme| is_missing(first.layer(), scheme))
                .collect();
            // Schemes that rotate alike follow one another: they share what is found.
            wanted.sort_by_key(|scheme| scheme.rotation().map(Rotation::most));
            (!wanted.is_empty()).then_some((first, wanted))
        };
        (0..plans[0].tensors.len()).filter_map(of_tensor).collect()
    }
}

/// Returns a job for each scheme that the layout can store.
fn jobs(request: &SensitivityRequest<'_>) -> Result<(Vec<Scheme>, Vec<Job>), ConvertError> {
    let of_card = request.card.schemes(request.job.recipe.layout());
    let is_named = !request.schemes.is_empty();
    let schemes = if is_named { request.schemes } else { &of_card };
    let mut refused: Vec<Complaint> = vec![];
    let mut found = (vec![], vec![]);
    for scheme in schemes {
        let file = RecipeFile {
            scheme: Some(scheme.to_string()),
            assign: vec![],
            ..request.job.recipe.file().clone()
        };
        match Recipe::check(file) {
            // As the layout stores it. Scales of servers are rounded otherwise than a scheme's name alone says.
            Ok(recipe) if found.0.contains(&recipe.scheme()) => {}
            Ok(recipe) => {
                // Nothing is written, and no weight is worked on by bands.
                let limits = Limits { memory_bytes: None, ..request.job.limits };
                found.0.push(recipe.scheme());
                found.1.push(Job { recipe, limits, ..request.job.clone() });
            }
            Err(error) => {
                let of_scheme = |complaint: Complaint| {
                    let problem = Text::from(format!("`{scheme}`: ")) + complaint.problem;
                    Complaint::about(Setting::new("schemes"), problem)
                };
                refused.extend(error.complaints.into_iter().map(of_scheme));
            }
        }
    }
    // Schemes that merely suit the card may be refused as long as one is left; those that were named have
    // to be possible, all of them.
    match found.0.is_empty() || is_named && !refused.is_empty() {
        true => Err(ConvertError::Misfit { path: request.job.input.clone(), complaints: refused }),
        false => Ok(found),
    }
}

/// Returns the scheme that a plan gives a weight, where nothing but the recipe's scheme decides which.
pub(crate) fn free_scheme(planned: &PlannedTensor) -> Option<Scheme> {
    // `include` asks for codes and leaves open which.
    let is_open = |reason: &Reason| {
        matches!(reason, Reason::Default | Reason::Assigned | Reason::Included(_))
    };
    let is_free = |reason: &Reason| match reason {
        Reason::Decoded { because, .. } | Reason::FromForeign { because, .. } => is_open(because),
        reason => is_open(reason),
    };
    match planned.decision {
        Decision::Quantize { scheme, .. } if is_free(&planned.reason) => Some(scheme),
        _ => None,
    }
}

/// Returns the names of the schemes that each layer can have.
fn layers<'a>(prepared: &'a Prepared, schemes: &[Scheme]) -> BTreeMap<&'a str, Vec<String>> {
    let mut layers = BTreeMap::<&str, Vec<String>>::new();
    for (plan, scheme) in prepared.plans().zip(schemes) {
        for planned in plan.tensors.iter().filter(|planned| free_scheme(planned).is_some()) {
            layers.entry(planned.layer()).or_default().push(scheme.to_string());
        }
    }
    layers
}

/// A weight, and the schemes that it is still to be measured in.
type Work<'a> = (&'a PlannedTensor, Vec<Scheme>);

/// Rounds a weight in some schemes, and returns what it loses, and the first row with a NaN or an infinity:
/// with one there are no losses, for a conversion keeps the weight.
fn measure(
    input: &Input,
    planned: &PlannedTensor,
    schemes: &[Scheme],
    watch: &dyn Watch,
    buffers: &mut Buffers,
) -> Result<(BTreeMap<String, SchemeLoss>, Option<usize>), ConvertError> {
    notice(watch, Event::Begun { tensor: &planned.header.name })?;
    let lazy = Lazy::new(input, watch);
    let (mut losses, mut not_finite) = (BTreeMap::new(), None);
    for scheme in schemes {
        if planned.experts().is_some() {
            let forget = |_, _: &mut Buffers| Ok(());
            match round_bank(input, planned, *scheme, watch, buffers, forget) {
                Ok(bank) => {
                    let weight_error = bank.error().error_squared;
                    let loss = SchemeLoss { weight_error, ..SchemeLoss::default() };
                    losses.insert(scheme.to_string(), loss);
                }
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::NotFinite { row, .. }) => {
                    not_finite = Some(row);
                    break;
                }
            }
            continue;
        }
        // Without what layers have in common: which of them share a scale is open until schemes are
        // chosen.
        let codes = match input.round_planned(planned, *scheme, false, 0.0, &lazy, buffers) {
            Ok(codes) => codes,
            Err(Stop::Failed(error)) => return Err(error),
            // It would be found in every other scheme as well.
            Err(Stop::NotFinite { row, .. }) => {
                not_finite = Some(row);
                break;
            }
        };
        let rounding = codes.rounding.as_ref();
        let loss = SchemeLoss {
            weight_error: codes.error.error_squared,
            output_error: rounding.and_then(|rounding| rounding.output_error),
            loss: rounding.and_then(|rounding| rounding.predicted_loss),
        };
        losses.insert(scheme.to_string(), loss);
        buffers.keep(codes.matrix.into_codes());
    }
    lazy.recycle(buffers);
    Ok((losses, not_finite))
}
