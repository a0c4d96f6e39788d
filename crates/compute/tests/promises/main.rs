//! Promises of the computations, on every backend of the host.
//!
//! They are one program: every further one would be linked with all that is tested.

mod elementwise;
mod factors;
mod products;
mod svd;
mod threads;
