//! Recipes: a user's rules, as typed and once checked.

pub(crate) mod adapter;
pub(crate) mod check;
pub(crate) mod command;
pub(crate) mod complaint;
pub(crate) mod edit;
pub(crate) mod edit_file;
pub(crate) mod file;
#[cfg(feature = "clap")]
pub mod help;
pub(crate) mod inputs;
pub(crate) mod layer_config;
pub(crate) mod min_size;
pub(crate) mod names;
pub(crate) mod overlay;
pub(crate) mod plain_dtype;
pub(crate) mod program;
pub(crate) mod purpose;
pub(crate) mod read_settings;
pub(crate) mod recipe;
pub(crate) mod rule;
pub(crate) mod setting;
pub(crate) mod text;
pub(crate) mod vocabulary;
pub(crate) mod words;

pub use self::command::Command;
pub use self::complaint::{Complaint, RecipeError};
pub use self::edit_file::EditFile;
pub use self::file::{AssignmentFile, RecipeFile, RuleFile};
pub use self::inputs::InputScales;
pub use self::layer_config::import_layer_config;
pub use self::min_size::default_min_size;
pub use self::names::Names;
pub use self::plain_dtype::PlainDtype;
pub use self::program::Program;
pub use self::purpose::Purpose;
pub use self::read_settings::{read_settings, setting_names};
pub use self::recipe::{Recipe, Rounding};
pub use self::rule::Rule;
pub use self::setting::Setting;
pub use self::text::{Piece, Text};
pub use self::vocabulary::{ArchitectureEntry, KeptEntry, MethodEntry, PresetEntry, SchemeEntry};
pub use self::words::{flag_of, recipe_words, shell_text};
