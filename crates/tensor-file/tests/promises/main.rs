//! Promises of reading and writing tensor files. One program, since each that is linked takes its time.

mod common;
mod containers;
mod corrupt;
mod matches_reference;
mod open;
mod resume;
mod round_trip;
mod sharded;
mod sharded_output;
mod truncated;
mod writer;
