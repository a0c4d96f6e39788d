//! Plans: what every tensor becomes, and why, before any number is read.

pub(crate) mod decision;
pub(crate) mod dequantize;
pub(crate) mod edit;
pub(crate) mod effects;
pub(crate) mod explain;
pub(crate) mod fused;
pub(crate) mod gather_notes;
pub(crate) mod header;
pub(crate) mod json;
pub(crate) mod manifest;
pub(crate) mod memory;
pub(crate) mod migrate;
pub(crate) mod note;
pub(crate) mod part;
pub(crate) mod plan;
pub(crate) mod provenance;
pub(crate) mod quantize;
pub(crate) mod questions;
pub(crate) mod reason;
pub(crate) mod request;
pub(crate) mod run_facts;
pub(crate) mod same_model;

pub use self::decision::{Action, Decision, NotFinite, PlannedTensor};
pub use self::explain::{Explanation, Step, explain};
pub use self::memory::{Limits, MemoryPlan, RESIDENT_BYTES, Workers};
pub use self::note::{Ineffective, Note};
pub use self::part::Part;
pub use self::plan::Plan;
pub use self::provenance::{Provenance, Tool};
pub use self::reason::Reason;
pub use self::request::PlanRequest;
