//! Looks at files: their contents, their defects, and their differences from an original.

pub(crate) mod codes;
pub(crate) mod comparison;
pub(crate) mod diagnose;
pub(crate) mod inspect;
pub(crate) mod layer_picture;
pub(crate) mod outputs;
mod structure;
pub(crate) mod template;
pub(crate) mod verification;
pub(crate) mod verify;

pub use self::diagnose::{Diagnosis, diagnose};
pub use self::inspect::{DtypeCount, Inspection, MadeBy, QuantizedCount, inspect};
pub use self::layer_picture::{ErrorMap, Histogram, LayerPicture, look_at_layer};
pub use self::template::recipe_template;
pub use self::verification::{Biases, Finding, LayerError, Verification};
pub use self::verify::verify;
