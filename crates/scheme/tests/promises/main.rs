//! Promises of the schemes.
//!
//! They are one program: every further one would be linked with all that is tested.

mod any_shape;
mod common;
mod edges;
mod levels;
mod linear;
mod matches_reference;
mod rotation;
mod zero_points;
