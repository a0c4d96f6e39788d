//! Promises of the statistics.
//!
//! They are one program: every further one would be linked with all that is tested.

mod broken;
mod common;
mod fit;
mod importance;
mod merge;
mod round_trip;
