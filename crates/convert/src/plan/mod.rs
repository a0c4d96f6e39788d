//! Plans: what every tensor becomes, and why, before any number is read.

pub(crate) mod decide;
pub(crate) mod dequantize;
pub(crate) mod edit;
pub(crate) mod effects;
pub(crate) mod explain;
pub(crate) mod memory;
pub(crate) mod migrate;
pub(crate) mod note;
pub(crate) mod part;
pub(crate) mod plan;
pub(crate) mod provenance;
pub(crate) mod reason;
pub(crate) mod same_model;

pub use self::explain::{Explanation, Step, explain};
pub use self::memory::{Limits, Pace, RESIDENT_BYTES, Workers};
pub use self::note::Note;
pub use self::part::Share;
pub use self::plan::{Decision, NotFinite, Plan, PlannedTensor};
pub use self::provenance::{Provenance, Tool};
pub use self::reason::Reason;
