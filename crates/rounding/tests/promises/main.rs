//! Promises of learned rounding.
//!
//! They are one program: every further one would be linked with all that is tested.

mod activations;
mod bias_correction;
mod common;
mod every_method;
mod methods;
mod never_worse_than_nearest;
