//! Promises of learned rounding. One program, since each that is linked takes its time.

mod activations;
mod bias_correction;
mod common;
mod every_method;
mod methods;
mod never_worse_than_nearest;
