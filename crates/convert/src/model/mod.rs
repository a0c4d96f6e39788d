//! Models: how they are recognised, and which of their layers presets keep.

pub(crate) mod architecture;
pub(crate) mod catalog;
pub(crate) mod condition;
pub(crate) mod detect;
pub(crate) mod dialect;
pub(crate) mod dialect_table;
pub(crate) mod heuristic;
pub(crate) mod kind;
pub(crate) mod kind_rule;
pub(crate) mod name_template;
pub(crate) mod pattern;
pub(crate) mod preset;
pub(crate) mod shapes;
pub(crate) mod translation;
pub(crate) mod wrapper;

pub use self::architecture::Architecture;
pub use self::catalog::UnknownPreset;
pub use self::detect::{Component, Detected, detect, detect_as};
pub use self::dialect::Dialect;
pub(crate) use self::dialect_table::DialectTable;
pub use self::heuristic::Heuristic;
pub use self::kind::{AdapterKind, FileKind, UnknownKind};
pub use self::kind_rule::KindRule;
pub use self::pattern::LayerPattern;
pub use self::preset::{
    FamilyRule, FamilyRules, KeepRule, LayerNames, MatrixSizes, ModuleName, Origin, Preset, ReadAs,
    RemoveRule, Role, Size,
};
pub use self::shapes::Shapes;
pub(crate) use self::translation::Translation;
pub use self::translation::TranslationError;
