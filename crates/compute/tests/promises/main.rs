//! Promises of the computations, on every backend of the host. One program, since each that is linked takes its time.

mod elementwise;
mod factors;
mod products;
mod svd;
mod threads;
