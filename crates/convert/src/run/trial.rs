//! Trials of a recipe: one weight of each of the shapes with most elements stands for all of them.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::error::ConvertError;
use crate::plan::Plan;
use crate::recipe::Rounding;
use crate::report::TensorReport;
use crate::report::watch::Watch;
use crate::run::convert::Prepared;
use crate::run::job::Job;
use crate::run::try_weights::try_prepared;

/// Estimates of the whole file, made from a few weights.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Scheme of the weights that no rule names.
    pub scheme: String,
    /// Name of the method.
    pub method: String,
    /// `‖E‖ / ‖W‖` over the weights tried, each counted for all of its shape.
    pub weight_error: f64,
    /// The same for nearest codes, where a search was made.
    pub nearest_weight_error: Option<f64>,
    /// Mean of the errors of outputs over them, squared, where statistics tell.
    pub output_error: Option<f64>,
    /// The same for nearest codes.
    pub nearest_output_error: Option<f64>,
    /// Seconds that the whole conversion is estimated to take.
    pub estimated_seconds: f64,
    /// Seconds that the trial took.
    pub seconds_spent: f64,
    /// Elements of all weights that become codes.
    pub elements: u64,
    /// The weights tried.
    pub layers: Vec<TriedLayer>,
}

/// One weight, for all of its shape and scheme.
#[derive(Clone, Debug, Serialize)]
pub struct TriedLayer {
    /// Name of the weight.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its scheme.
    pub scheme: String,
    /// Weights of this shape and scheme.
    pub count: usize,
    /// Its weight error.
    pub weight_error: f64,
    /// The same for nearest codes, where a search was made.
    pub nearest_weight_error: Option<f64>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Weights of one shape that become codes of one scheme.
struct Alike {
    first: String,
    count: usize,
    elements: u64,
}

/// Rounds one weight of each of the shapes with most elements, and estimates the whole file from them.
///
/// - `shapes`: how many, at least one
///
/// # Errors
/// As [`try_weights`](crate::run::try_weights).
pub fn try_job(job: &Job, shapes: usize, watch: &dyn Watch) -> Result<Trial, ConvertError> {
    let started = Instant::now();
    let prepared = Prepared::new(job, &[])?;
    let plan = &prepared.planned[0].plan;
    let mut alike = alike(plan);
    let elements = alike.iter().map(|it| it.elements).sum();
    alike.sort_by_key(|it| std::cmp::Reverse(it.elements));
    // A few shapes hold most of a model's elements: those of its blocks.
    alike.truncate(shapes.max(1));
    let names: Vec<&str> = alike.iter().map(|it| it.first.as_str()).collect();
    let tried = try_prepared(job, &prepared, &names, watch)?;
    let at_once = match job.recipe.rounding() {
        // Each weight has a thread of its own.
        Rounding::Nearest => plan.memory.threads.get() as f64,
        // Searches share threads and device, in the trial as in the run.
        Rounding::Learned(_) => 1.0,
    };
    let pairs: Vec<(&Alike, &TensorReport)> = alike.iter().zip(&tried).collect();
    let covered: u64 = alike.iter().map(|it| it.elements).sum();
    let covered_seconds: f64 =
        pairs.iter().map(|(it, tensor)| it.count as f64 * tensor.seconds).sum();
    let weighed = |value: fn(&TensorReport) -> Option<f64>| root_mean(&pairs, value);
    let mean = |value: fn(&TensorReport) -> Option<f64>| mean(tried.iter().filter_map(value));
    Ok(Trial {
        scheme: job.recipe.scheme().to_string(),
        method: job.recipe.method().to_owned(),
        weight_error: weighed(|tensor| tensor.weight_error).unwrap_or(0.0),
        nearest_weight_error: weighed(|tensor| tensor.rounding.as_ref()?.nearest_weight_error),
        output_error: mean(|tensor| tensor.rounding.as_ref()?.output_error),
        nearest_output_error: mean(|tensor| tensor.rounding.as_ref()?.nearest_output_error),
        // The weights that were not tried are assumed to take as long per element.
        estimated_seconds: covered_seconds * elements as f64 / (covered.max(1) as f64) / at_once,
        seconds_spent: started.elapsed().as_secs_f64(),
        elements,
        layers: pairs.iter().map(|(alike, tensor)| TriedLayer::of(alike, tensor)).collect(),
    })
}

/// Weights that become codes, by shape and scheme, in file order.
fn alike(plan: &Plan) -> Vec<Alike> {
    // The map holds places in the list, because its own order would lose that of the file.
    let mut found = BTreeMap::new();
    let mut groups: Vec<Alike> = vec![];
    for (planned, scheme) in plan.quantized() {
        let key = (planned.shape.clone(), scheme.to_string());
        let index = *found.entry(key).or_insert_with(|| {
            let first = planned.header.name.clone();
            groups.push(Alike { first, count: 0, elements: 0 });
            groups.len() - 1
        });
        groups[index].count += 1;
        groups[index].elements += planned.shape.iter().product::<u64>();
    }
    groups
}

impl TriedLayer {
    fn of(alike: &Alike, tensor: &TensorReport) -> Self {
        let rounding = tensor.rounding.as_ref();
        Self {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            scheme: tensor.scheme.map(|scheme| scheme.to_string()).unwrap_or_default(),
            count: alike.count,
            weight_error: tensor.weight_error.unwrap_or(0.0),
            nearest_weight_error: rounding.and_then(|rounding| rounding.nearest_weight_error),
            seconds: tensor.seconds,
        }
    }
}

/// `‖E‖ / ‖W‖` over all weights, from relative errors of one of each kind.
fn root_mean(
    pairs: &[(&Alike, &TensorReport)],
    value: impl Fn(&TensorReport) -> Option<f64>,
) -> Option<f64> {
    let (mut errors, mut weights) = (0.0, 0.0);
    for (alike, tensor) in pairs {
        let (Some(value), Some(norm)) = (value(tensor), tensor.weight_norm) else { continue };
        // The weight that was tried stands for all of its kind, its norm for theirs.
        let weight = alike.count as f64 * norm * norm;
        errors += weight * value * value;
        weights += weight;
    }
    (weights > 0.0).then(|| (errors / weights).sqrt())
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), it| (sum + it, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
