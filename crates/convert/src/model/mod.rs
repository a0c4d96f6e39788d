//! Models: how they are recognised, and what presets say of their layers.

pub(crate) mod architecture;
pub(crate) mod catalog;
pub(crate) mod condition;
pub(crate) mod heuristic;
pub(crate) mod pattern;
pub(crate) mod preset;

pub use self::architecture::{Architecture, Detected, Part, Shapes, detect};
pub use self::heuristic::Heuristic;
pub use self::pattern::LayerPattern;
pub use self::preset::{KeepRule, Origin, Preset, RemoveRule, Role, UnknownPreset};
