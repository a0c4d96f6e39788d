//! Promises of the grids.
//!
//! They are one program: every further one would be linked with all that is tested.

mod common;
mod every_code;
mod matches_other_crates;
mod slices;
