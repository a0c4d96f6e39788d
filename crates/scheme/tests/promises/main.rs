//! Promises of the schemes. One program, since each that is linked takes its time.

mod any_shape;
mod common;
mod edges;
mod levels;
mod linear;
mod matches_reference;
mod rotation;
