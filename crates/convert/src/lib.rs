//! The story: a recipe and a file become a plan, the plan becomes a file and a report.
//!
//! [`convert()`] is the page to start reading from. [`Plan`] decides what every tensor becomes before
//! any arithmetic, with a [`Reason`] for each; [`verify()`] compares the result with its original;
//! [`inspect()`] says what a file is.
//!
//! ```no_run
//! use roundwise_convert::{Job, Recipe, RecipeFile, Unwatched, convert};
//!
//! let recipe = Recipe::check(RecipeFile::from_toml("scheme = 'int8-row'")?)?;
//! let job = Job::new("model.safetensors", "model-int8-row.safetensors", recipe);
//! let report = convert(&job, &Unwatched)?;
//! println!("{} weights converted, {} tensors kept", report.converted, report.kept);
//! # Ok::<(), roundwise_convert::ConvertError>(())
//! ```

#![allow(clippy::module_inception, reason = "a room and its chief noun share a name")]

mod error;
pub mod inspect;
pub mod model;
pub mod plan;
pub mod recipe;
pub mod report;
pub mod run;
pub mod source;

pub use self::error::ConvertError;
pub use self::inspect::*;
pub use self::model::*;
pub use self::plan::*;
pub use self::recipe::*;
pub use self::report::*;
pub use self::run::*;
pub use self::source::*;

pub use roundwise_compute::{ComputeError, Device, Devices};
pub use roundwise_layout::{Client, Defect, Layout, MatmulPrecision, Repair, client};
pub use roundwise_rounding::{
    BiasCorrection, Effort, METHODS, Method, MethodOptions, MethodSetting, Optimizer, Schedule,
    SettingOfMethod, SettingRange, SettingValue, Solver,
};
pub use roundwise_scheme::{CATALOG, CatalogEntry, FAMILIES, FamilyNumber, ScaleRule, Scheme};
pub use roundwise_stats::{COLLECTOR, Knowledge, LayerSummary, Merge, Statistics, StatsError};
pub use roundwise_tensor_file::{
    Overwrite, TensorFileError, available_bytes, check_writable, read_text, write_text_atomically,
};
