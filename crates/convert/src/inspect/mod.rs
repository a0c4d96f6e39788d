//! Looks at files: their contents, their defects, and their differences from an original.

pub(crate) mod codes;
pub(crate) mod comparison;
pub(crate) mod diagnose;
pub(crate) mod inspect;
pub(crate) mod outputs;
pub(crate) mod template;
pub(crate) mod verify;

pub use self::diagnose::{Diagnosis, diagnose};
pub use self::inspect::{DtypeCount, Inspection, MadeBy, QuantizedCount, inspect};
pub use self::template::recipe_template;
pub use self::verify::{Biases, Finding, LayerError, Verification, verify};
