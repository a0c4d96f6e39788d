use std::path::{Path, PathBuf};

use roundwise_compute::Engines;
use roundwise_layout::Layout;
use roundwise_scheme::{Scheme, WeightError};
use serde::{Serialize, Serializer};

use crate::model::Kind;
use crate::plan::Tool;
use crate::report::rounding::{LayerRounding, RoundingTotals};
use crate::source::{FileHash, SchemeConsumer};

use crate::plan::{Decision, Plan, PlannedTensor};
use crate::recipe::RecipeFile;
use crate::run::Job;

/// What a conversion did. Serialised, it is the file that `--report` writes; `docs/report.md`
/// describes every field.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this layout of fields.
    pub report_version: u32,
    /// Name and version of the tool.
    pub tool: Tool,
    /// The input, as it was named.
    #[serde(serialize_with = "lossy")]
    pub input: PathBuf,
    /// The output.
    #[serde(serialize_with = "lossy")]
    pub output: PathBuf,
    /// Size of the input, all shards together.
    pub input_bytes: u64,
    /// Size of the output.
    pub output_bytes: u64,
    /// BLAKE3 of every file of the input, if they were hashed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_hashes: Vec<FileHash>,
    /// The recipe as it was typed; what was left out has its default.
    pub options: RecipeFile,
    /// The model that was recognised.
    pub architecture: String,
    /// What the input is.
    pub kind: Kind,
    /// Who opens the weights of each scheme of the output, if anybody does.
    pub consumers: Vec<SchemeConsumer>,
    /// The preset in force.
    pub preset: String,
    /// Layout of the output.
    #[serde(serialize_with = "name")]
    pub layout: Layout,
    /// What someone might have expected otherwise.
    pub notes: Vec<String>,
    /// Threads in use; learned rounding works on at most two tensors at once.
    pub threads: usize,
    /// Tensors that an earlier run, which did not get to its end, had finished.
    pub resumed: usize,
    /// From opening the input to the renamed output.
    pub seconds: f64,
    /// The part of it that the final sync took.
    pub sync_seconds: f64,
    /// The part of it that reading the output again took, unless that was left out.
    pub verify_seconds: Option<f64>,
    /// Number of tensors that became codes.
    pub converted: usize,
    /// Number of tensors that were kept.
    pub kept: usize,
    /// Number of tensors that were removed.
    pub removed: usize,
    /// `‖E‖ / ‖W‖` over all converted weights together, of the stored codes.
    pub weight_error: Option<f64>,
    /// What learned rounding did, where a method was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<RoundingTotals>,
    /// Every tensor of the input, by name.
    pub layers: Vec<TensorReport>,
}

/// A path as text. JSON has no place for names that are not Unicode; they must not spoil the rest.
pub(crate) fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// What is written and read by its name.
pub(crate) fn name<N: std::fmt::Display, S: Serializer>(
    named: &N,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_str(named)
}

fn optional_name<N: std::fmt::Display, S: Serializer>(
    named: &Option<N>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match named {
        Some(named) => to.collect_str(named),
        None => to.serialize_none(),
    }
}

/// A [`Decision`] without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Became codes and scales.
    Quantize,
    /// Kept its bytes.
    Copy,
    /// Kept its bytes under another name.
    Rename,
    /// Codes of the input became plain numbers.
    Decode,
    /// Kept its codes, laid out anew.
    Repack,
    /// A bias, corrected.
    Correct,
    /// Kept, but for what adapters added.
    Merge,
    /// Left out.
    Remove,
}

/// What happened to one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorReport {
    /// Name in the input.
    pub name: String,
    /// Shape in the input.
    pub shape: Vec<u64>,
    /// What the input calls its numbers: a dtype, or `Q8_0` of GGUF.
    pub dtype: &'static str,
    /// What became of it.
    pub decision: Fate,
    /// Why.
    pub reason: String,
    /// Scheme of the stored codes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_name")]
    pub scheme: Option<Scheme>,
    /// `‖E‖ / ‖W‖` of the stored codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_error: Option<f64>,
    /// What learned rounding did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<LayerRounding>,
    /// Reading, rounding, measuring and writing.
    pub seconds: f64,
    /// Sums behind `weight_error`.
    #[serde(skip)]
    pub sums: Option<WeightError>,
}

impl TensorReport {
    /// The entry of a planned tensor before anything has been done to it.
    pub fn planned(planned: &PlannedTensor) -> Self {
        let (decision, scheme) = match &planned.decision {
            Decision::Copy(_) => (Fate::Copy, None),
            Decision::Rename { .. } => (Fate::Rename, None),
            Decision::Decode { .. } => (Fate::Decode, None),
            Decision::Repack { scheme, .. } => (Fate::Repack, Some(*scheme)),
            Decision::Correct(_) => (Fate::Correct, None),
            Decision::Merge(_) => (Fate::Merge, None),
            Decision::Remove(_) => (Fate::Remove, None),
            Decision::Quantize { scheme, .. } => (Fate::Quantize, Some(*scheme)),
        };
        Self {
            name: planned.header.name.clone(),
            shape: planned.header.shape.clone(),
            dtype: planned.header.stored_as(),
            decision,
            reason: match (planned.is_merged, &planned.decision) {
                (true, Decision::Quantize { reason, .. } | Decision::Decode { reason, .. }) => {
                    format!("{reason}; adapters are merged")
                }
                (_, decision) => decision.reason().to_string(),
            },
            scheme,
            weight_error: None,
            rounding: None,
            seconds: 0.0,
            sums: None,
        }
    }

    /// Notes the measured error of the stored codes.
    pub(crate) fn measure(&mut self, error: WeightError) {
        self.weight_error = Some(error.relative());
        self.sums = Some(error);
    }
}

impl Report {
    /// Sums up the entries of all tensors.
    pub(crate) fn of(
        plan: &Plan,
        job: &Job,
        engines: Option<&Engines>,
        layers: Vec<TensorReport>,
    ) -> Self {
        let count = |decisions: &[Fate]| {
            layers.iter().filter(|layer| decisions.contains(&layer.decision)).count()
        };
        let mut total = WeightError::default();
        for sums in layers.iter().filter_map(|layer| layer.sums) {
            total += sums;
        }
        Self {
            report_version: 1,
            tool: Tool::THIS,
            input: job.input.clone(),
            output: job.output.clone(),
            input_bytes: 0,
            output_bytes: 0,
            input_hashes: vec![],
            options: job.recipe.file().clone(),
            architecture: plan.subject.detected.main.title.to_owned(),
            kind: plan.subject.kind(),
            consumers: plan.consumers(),
            preset: plan.preset.name.clone(),
            layout: plan.layout,
            notes: plan.notes.iter().map(ToString::to_string).collect(),
            threads: job.threads.get(),
            resumed: 0,
            seconds: 0.0,
            sync_seconds: 0.0,
            verify_seconds: None,
            converted: count(&[Fate::Quantize]),
            kept: count(&[
                Fate::Copy,
                Fate::Rename,
                Fate::Decode,
                Fate::Repack,
                Fate::Correct,
                Fate::Merge,
            ]),
            removed: count(&[Fate::Remove]),
            rounding: engines
                .map(|engines| RoundingTotals::of(job.recipe.method(), engines, &layers)),
            weight_error: layers.iter().any(|l| l.sums.is_some()).then(|| total.relative()),
            layers,
        }
    }

    /// The converted layers with the largest error, worst first.
    pub fn worst_layers(&self, count: usize) -> Vec<&TensorReport> {
        let mut layers: Vec<_> =
            self.layers.iter().filter(|layer| layer.weight_error.is_some()).collect();
        layers.sort_by(|a, b| {
            b.weight_error
                .partial_cmp(&a.weight_error)
                .unwrap_or(std::cmp::Ordering::Equal)
                .then_with(|| a.name.cmp(&b.name))
        });
        layers.truncate(count);
        layers
    }
}
