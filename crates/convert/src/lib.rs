//! The story: a recipe and a file become a plan, the plan becomes a file and a report.
//!
//! [`convert()`] is the page to start reading from. [`Plan`] decides what every tensor becomes before
//! any arithmetic, with a [`Reason`](plan::Reason) for each; [`verify()`] compares the result with its original;
//! [`inspect::inspect`] says what a file is.
//!
//! | room | holds |
//! |---|---|
//! | [`recipe`] | what somebody asks for, as it is typed and once it has been checked |
//! | [`model`] | architectures, kinds of files, presets |
//! | [`source`] | the input: tensors, layers in codes, adapters, statistics; who opens what is made of it |
//! | [`plan`] | what every tensor becomes, and why |
//! | [`run`] | jobs: a plan becomes a file |
//! | [`report`] | what happened, and events while it happens |
//! | [`inspect`] | what a file is, what is wrong with it, how it differs from its original |
//!
//! ```no_run
//! use roundwise_convert::{Job, Recipe, RecipeFile, Unwatched, convert};
//!
//! let recipe = Recipe::check(RecipeFile::from_toml("scheme = 'int8-row'")?)?;
//! let job = Job::new("model.safetensors", "model-int8-row.safetensors", recipe);
//! let report = convert(&job, &Unwatched)?;
//! println!("{} weights converted, {} tensors kept", report.converted_tensors, report.kept_tensors);
//! # Ok::<(), roundwise_convert::ConvertError>(())
//! ```

#![allow(clippy::module_inception, reason = "a room and its chief noun share a name")]

mod comfy;
mod error;
pub mod inspect;
pub mod model;
pub mod plan;
pub mod recipe;
pub mod report;
pub mod run;
pub mod source;

pub use self::comfy::{NODES_FOLDER, install_nodes};
pub use self::error::ConvertError;
pub use self::inspect::verify;
pub use self::plan::{Plan, PlanRequest};
pub use self::recipe::{Recipe, RecipeFile};
pub use self::report::{Event, Report, Unwatched, Watch};
pub use self::run::{Job, Prepared, convert};
pub use self::source::Source;

// Their types stand in the signatures here: one dependency is enough for a program.
pub use roundwise_compute as compute;
pub use roundwise_layout as layout;
pub use roundwise_rounding as rounding;
pub use roundwise_scheme as scheme;
pub use roundwise_stats as stats;
pub use roundwise_tensor_file as tensor_file;
