//! Promises of a conversion.
//!
//! They are one program: every further one would be linked with all that is tested.

mod adapters;
mod bands;
mod banks;
mod detection;
mod errors;
mod expert_blocks;
mod families;
mod foreign_codes;
mod hashing;
mod kinds;
mod looking;
mod nothing_is_invented;
mod packed;
mod places;
mod presets;
mod questions;
mod recipes;
mod resume;
mod settings;
mod shared_scales;
mod stability;
mod stop_after;
