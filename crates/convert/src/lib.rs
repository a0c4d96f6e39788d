//! The story: a recipe and a file become a plan, the plan becomes a file and a report.
//!
//! [`convert`] is the page to start reading from. [`Plan`] decides what every tensor becomes before
//! any arithmetic, with a [`Reason`] for each; [`verify`] compares the result with its original;
//! [`inspect`] says what a file is.

mod adapter;
mod architecture;
mod banded;
mod bias;
mod buffers;
mod decide;
mod dequantize;
mod diagnose;
mod edit;
mod edit_file;
mod effects;
mod error;
mod error_lora;
mod gate;
mod hash;
mod heuristic;
mod inspect;
mod job;
mod layer_config;
mod layer_inputs;
mod memory;
mod merge;
mod not_finite;
mod note;
mod parallel;
mod pipeline;
mod plain_dtype;
mod plan;
mod preset;
mod provenance;
mod reason;
mod recipe;
mod recipe_check;
mod recipe_file;
mod recipe_template;
mod relay;
mod report;
mod rounder;
mod run;
mod same_model;
mod share;
mod shared_scales;
mod source;
mod verify;
mod watch;
mod workshop;

pub use architecture::{Architecture, Detected, Part, Shapes, detect};
pub use decide::{Explanation, Step, explain};
pub use diagnose::{Diagnosis, diagnose};
pub use edit_file::EditFile;
pub use error::ConvertError;
pub use error_lora::{ErrorLora, error_lora_path, extract_error_lora};
pub use heuristic::Heuristic;
pub use inspect::{DtypeCount, Inspection, MadeBy, QuantizedCount, inspect};
pub use job::{Job, Limits, StatisticsFile, Workers, default_output};
pub use layer_config::import_layer_config;
pub use memory::{Pace, RESIDENT_BYTES};
pub use merge::{Merged, merge};
pub use not_finite::NotFinite;
pub use note::Note;
pub use pipeline::{check, convert, convert_together};
pub use plain_dtype::PlainDtype;
pub use plan::{Decision, Plan, PlannedTensor};
pub use preset::{KeepRule, LayerPattern, Origin, Preset, RemoveRule, Role, UnknownPreset};
pub use provenance::Provenance;
pub use reason::Reason;
pub use recipe::{Purpose, Recipe, RecipeError, Rounding, Rule};
pub use recipe_file::{RecipeFile, RuleFile};
pub use recipe_template::recipe_template;
pub use report::{Fate, FileHash, LayerRounding, Report, RoundingTotals, TensorReport, Tool};
pub use share::Share;
pub use source::{LoadedWeight, Source};
pub use verify::{Biases, Finding, LayerError, Verification, verify};
pub use watch::{Event, Unwatched, Watch};

pub use roundwise_compute::{Device, Devices};
pub use roundwise_layout::{Client, Defect, Layout, Mend, Products, client};
pub use roundwise_rounding::{
    BiasCorrection, Effort, METHODS, Method, MethodOptions, Optimizer, Schedule, Solver,
};
pub use roundwise_scheme::{CATALOG, FAMILIES, FamilyNumber, ScaleRule, Scheme};
pub use roundwise_stats::{COLLECTOR, Knowledge, LayerSummary, Merge, Statistics, StatsError};
pub use roundwise_tensor_file::{
    Overwrite, TensorFileError, check_writable, read_text, write_text_atomically,
};
