//! What a GPU computes is what the CPU computes, within the rounding of its products.
//!
//! Runs on every GPU library that is built in and finds a driver; a driver that computes on the CPU, such as
//! Mesa's lavapipe, does as well. Where none is found the tests say so.

#![allow(clippy::print_stderr, reason = "a device that is not here is told of")]

#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod agree;
mod compare;
mod operations;
mod room;
