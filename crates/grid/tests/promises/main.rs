//! Promises of the grids. One program, since each that is linked takes its time.

mod common;
mod every_code;
mod matches_other_crates;
mod slices;
