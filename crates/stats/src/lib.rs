//! Statistics of the real inputs of a model's layers: side-car file, merging, importance matrices
//! of llama.cpp, the collector.
//!
//! For every layer: how many inputs x were seen, their mean, and as much of H = `E[x xᵀ]` as is worth
//! its place ([`SecondMoment`]); where they were collected, too, the second moment of inputs as attention
//! mixes them ([`MixedInputs`]) and the gradients of outputs ([`OutputGradient`]). `docs/statistics.md`
//! describes the file and has the formulas.
//!
//! ```no_run
//! use roundwise_stats::{Fit, Statistics, layers_of};
//! use roundwise_tensor_file::Checkpoint;
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let statistics = Statistics::open(Path::new("model.stats.safetensors"))?;
//! let model = Checkpoint::open(Path::new("model.safetensors"))?;
//! let fit = Fit::of(&statistics, &layers_of(&model));
//! fit.require_all()?;
//! for (layer, module) in fit.pairs() {
//!     let inputs = statistics.layer(module)?;
//!     println!("{layer}: {} samples of {} columns", inputs.count(), inputs.columns());
//! }
//! # Ok(())
//! # }
//! ```

mod curvature;
mod error;
mod fit;
mod importance;
mod layer;
mod merge;
mod parts;
mod reduce;
mod shape;
mod side_car;
mod statistics;
mod summary;
mod write;

pub use curvature::{Curvature, MixedInputs, OutputGradient};
pub use error::{StatsError, StatsErrorKind};
pub use fit::{Fit, Misfit, layers_of};
pub use importance::hugging_face_name;
pub use layer::{Knowledge, LayerStatistics, SecondMoment};
pub use merge::Merge;
pub use parts::Moment;
pub use shape::{LayerShape, fingerprint, layers_text};
pub use side_car::{CURVATURE_VERSION, FORMAT, VERSION};
pub use statistics::Statistics;
pub use summary::LayerSummary;
pub use write::{GradientPlan, LayerPlan, StatisticsWriter};

/// The program that collects statistics: one Python file that needs torch and nothing else.
///
/// It is a module, a command and a ComfyUI custom node; its head says how to use it.
pub const COLLECTOR: &str = include_str!("../collector/roundwise_collect.py");
