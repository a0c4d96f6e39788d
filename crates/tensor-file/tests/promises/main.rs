//! Promises of reading and writing tensor files.
//!
//! They are one program: every further one would be linked with all that is tested.

mod arranged;
mod common;
mod containers;
mod corrupt;
mod gguf;
mod matches_reference;
mod open;
mod pickled;
mod resume;
mod round_trip;
mod sharded;
mod sharded_output;
mod truncated;
mod writer;
