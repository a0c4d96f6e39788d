//! Promises of the layouts. One program, since each that is linked takes its time.

mod any_shape;
mod common;
mod matches_reference;
mod orphans;
mod reads_others;
mod refuses_others;
