//! Promises of the statistics. One program, since each that is linked takes its time.

mod broken;
mod common;
mod fit;
mod importance;
mod merge;
mod round_trip;
