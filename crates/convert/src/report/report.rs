use std::borrow::Cow;
use std::path::PathBuf;

use roundwise_layout::Layout;
use roundwise_scheme::{Scheme, WeightError};
use serde::{Deserialize, Serialize};

use crate::model::Kind;
use crate::plan::Tool;
use crate::report::named;
use crate::report::rounding::{LayerRounding, RoundingTotals};
use crate::source::{FileHash, SchemeConsumer};

use crate::plan::{Action, PlannedTensor};
use crate::recipe::RecipeFile;

/// The report of a conversion. Serialised, it is the file that `--report` writes;
/// `docs/report.md` describes every field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout of fields.
    pub report_version: u32,
    /// Name and version of the tool.
    pub tool: Tool,
    /// The input, as it was named.
    #[serde(serialize_with = "named::lossy", deserialize_with = "named::read_path")]
    pub input: PathBuf,
    /// The output.
    #[serde(serialize_with = "named::lossy", deserialize_with = "named::read_path")]
    pub output: PathBuf,
    /// Size of the input, all shards together.
    pub input_bytes: u64,
    /// Size of the output.
    pub output_bytes: u64,
    /// BLAKE3 of every file of the input, if they were hashed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_hashes: Vec<FileHash>,
    /// The recipe as it was typed; what was left out has its default.
    pub options: RecipeFile,
    /// The model that was recognised.
    pub architecture: String,
    /// The kind of the input.
    pub kind: Kind,
    /// Who opens the weights of each scheme of the output, if anybody does.
    pub consumers: Vec<SchemeConsumer>,
    /// The preset in force.
    pub preset: String,
    /// Layout of the output.
    #[serde(serialize_with = "named::name", deserialize_with = "named::read_layout")]
    pub layout: Layout,
    /// Decisions that someone might have expected otherwise.
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
    /// Totals of learned rounding, where a method was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<RoundingTotals>,
    /// Every tensor of the input, by name.
    pub layers: Vec<TensorReport>,
}

/// The report of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorReport {
    /// Name in the input.
    pub name: String,
    /// Shape in the input.
    pub shape: Vec<u64>,
    /// Name of the input's numbers: a dtype, or `Q8_0` of GGUF.
    pub dtype: Cow<'static, str>,
    /// The decision.
    pub decision: Action,
    /// Why.
    pub reason: String,
    /// Scheme of the stored codes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "named::optional_name",
        deserialize_with = "named::read_optional_name"
    )]
    pub scheme: Option<Scheme>,
    /// `‖E‖ / ‖W‖` of the stored codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_error: Option<f64>,
    /// The result of learned rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<LayerRounding>,
    /// Reading, rounding, measuring and writing.
    pub seconds: f64,
    /// Sums behind `weight_error`.
    #[serde(skip)]
    pub sums: Option<WeightError>,
}

impl TensorReport {
    /// Returns the entry of a planned tensor before anything has been done to it.
    pub fn planned(planned: &PlannedTensor) -> Self {
        Self {
            name: planned.header.name.clone(),
            shape: planned.header.shape.clone(),
            dtype: planned.header.stored_as().into(),
            decision: planned.action(),
            reason: planned.because(),
            scheme: planned.scheme(),
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
    /// Reads a report that `--report` wrote.
    ///
    /// # Errors
    /// When it is not JSON of this layout of fields.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
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
