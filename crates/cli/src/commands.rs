//! One file per subcommand. Each returns whether everything is in order.

mod budget;
pub(crate) mod comfy;
pub(crate) mod completions;
mod conversion;
pub(crate) mod convert;
pub(crate) mod dequantize;
pub(crate) mod edit;
pub(crate) mod inspect;
pub(crate) mod manual;
pub(crate) mod merge;
pub(crate) mod methods;
pub(crate) mod migrate;
mod places;
pub(crate) mod plan;
pub(crate) mod presets;
pub(crate) mod recipe;
pub(crate) mod repair;
#[cfg(feature = "studio")]
pub(crate) mod report;
mod rewrite;
pub(crate) mod schemes;
pub(crate) mod sensitivity;
pub(crate) mod stats;
#[cfg(feature = "studio")]
pub(crate) mod studio;
mod summary;
pub(crate) mod trial;
pub(crate) mod verify;
