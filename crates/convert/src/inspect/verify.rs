use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_layout::Defect;
use roundwise_tensor_file::TensorHeader;
use serde::Serialize;

use crate::error::ConvertError;
use crate::inspect::comparison::{Comparison, Outcome, finding};
use crate::inspect::outputs::Outputs;
use crate::report::named::lossy;
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::run::pool::map_in_order;
use crate::source::Source;
use crate::source::StatisticsFile;

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
    pub defects: Vec<Finding>,
    /// Tensors with the same bytes in both files.
    pub identical: usize,
    /// Tensors that the converted file does not have.
    pub removed: Vec<String>,
    /// Number of layers that are in codes in the original.
    pub original_layers: usize,
    /// Error of every layer in codes.
    pub layers: Vec<LayerError>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The layer or tensor; empty for the file as a whole.
    pub tensor: String,
    /// What was found, and what was expected.
    pub problem: String,
    /// Which programs it breaks, and how; empty where that is not known.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub breaks: &'static str,
}

impl From<&Defect> for Finding {
    fn from(defect: &Defect) -> Self {
        let Defect { layer, problem, breaks } = defect;
        Self { tensor: layer.clone(), problem: problem.clone(), breaks }
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
    /// [`output_error`](Self::output_error) of nearest codes of this scheme, with absmax scales.
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

/// Compares a converted file with its original: structure, untouched tensors, error of each layer.
///
/// # Errors
/// When a file cannot be read or the watcher says stop; what is wrong with the converted file is a [`Finding`].
pub fn verify(
    original: &Path,
    converted: &Path,
    biases: Biases,
    statistics: Option<&StatisticsFile>,
    threads: NonZeroUsize,
    watch: &dyn Watch,
) -> Result<Verification, ConvertError> {
    let original_path = original;
    let original = Source::open(original)?;
    let outputs = match statistics {
        Some(file) => Some(Outputs::of(file, &original)?),
        None => None,
    };
    let converted_file = Source::open(converted)?;
    let comparison = Comparison { original, converted: converted_file, biases, outputs };
    let mut defects = comparison.structure();
    let before = &comparison.original.stored;
    let original_layers = before.layers.len() + before.foreign.len();
    let mut layers = vec![];
    let mut identical = 0;
    let mut removed = vec![];
    let tensors = comparison.original.checkpoint.tensors();
    let bytes = tensors.iter().map(TensorHeader::byte_len).sum();
    notice(watch, Event::Phase { name: Phase::Comparing, tensors: tensors.len(), bytes })?;
    let outcomes = map_in_order(tensors, threads, |header, _| {
        let outcome = comparison.compare(header)?;
        notice(watch, Event::Advanced { bytes: header.byte_len() })?;
        Ok::<_, ConvertError>(outcome)
    });
    for outcome in outcomes? {
        match outcome {
            Outcome::Identical => identical += 1,
            Outcome::Removed(name) => removed.push(name),
            Outcome::SideTensor | Outcome::AmongDefects => {}
            Outcome::Wrong(finding) => defects.push(finding),
            Outcome::Layer(layer, problem) => {
                defects.extend(problem.map(|problem| finding(&layer.name, problem)));
                layers.push(layer);
            }
        }
    }
    defects.sort();
    Ok(Verification {
        original: original_path.to_owned(),
        converted: converted.to_owned(),
        ok: defects.is_empty(),
        defects,
        identical,
        removed,
        original_layers,
        layers,
    })
}
