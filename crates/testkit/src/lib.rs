//! Weight generators, small tensor files and byte comparisons for tests.
//!
//! For tests only. Nothing here uses a crate under test, so that a defect there cannot hide here:
//! the tensor files are put together by hand, the numbers come from an own generator whose output
//! never changes.
//!
//! Functions of this crate panic when a check fails; that is what a test wants.

pub mod bytes;
pub mod cases;
pub mod files;
pub mod random;
pub mod tolerance;
pub mod weights;
