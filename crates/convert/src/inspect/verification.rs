use std::path::PathBuf;

use roundwise_layout::Defect;
use serde::Serialize;

use crate::recipe::Text;
use crate::report::named::lossy;

/// The outcome of comparing a converted file with its original.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// The file before.
    #[serde(serialize_with = "lossy")]
    pub original: PathBuf,
    /// The file after.
    #[serde(serialize_with = "lossy")]
    pub converted: PathBuf,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// Tensors with the same bytes in both files.
    pub identical_tensors: usize,
    /// Names of the tensors that the converted file does not have.
    pub removed_names: Vec<String>,
    /// Number of layers that are in codes in the original.
    pub original_layers: usize,
    /// Adapters that the converted file says were merged into it; what they change differs from the
    /// original.
    pub merged_adapters: Vec<String>,
    /// Error of every layer in codes.
    pub layers: Vec<LayerError>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The layer or tensor; empty for the file as a whole.
    pub tensor: String,
    /// The found and the expected state, in words.
    pub problem: Text,
    /// Which programs it breaks, and how; empty where that is not known.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub breaks: &'static str,
}

impl From<&Defect> for Finding {
    fn from(defect: &Defect) -> Self {
        let Defect { layer, problem, breaks } = defect;
        Self { tensor: layer.clone(), problem: problem.as_str().into(), breaks }
    }
}

/// Error of a layer in codes.
#[derive(Clone, Debug, Serialize)]
pub struct LayerError {
    /// Name of the layer's weight.
    pub name: String,
    /// Scheme of the codes.
    pub scheme: String,
    /// `‖E‖ / ‖W‖` of the stored codes.
    pub weight_error: f64,
    /// `tr(EHEᵀ) / tr(WHWᵀ)`: the error of the layer's outputs over them, both squared; where there
    /// are statistics of its inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_error: Option<f64>,
    /// [`output_error`](Self::output_error) of nearest codes of this scheme, with scales as the file's recipe
    /// chooses them, absmax where it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest_output_error: Option<f64>,
    /// Largest `|Ŵ − W|` in steps of the grid, see [`roundwise_scheme::LargestStep`].
    pub largest_step: f32,
}

/// Whether biases of converted layers have to be what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Biases {
    /// Byte for byte.
    #[default]
    Same,
    /// Their numbers may be others, where the conversion corrected them.
    MayBeCorrected,
}
