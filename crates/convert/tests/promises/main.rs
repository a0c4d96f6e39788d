//! Promises of a conversion. One program, since each that is linked takes its time.

mod adapters;
mod detection;
mod hashing;
mod nothing_is_invented;
mod packed;
mod presets;
mod recipes;
mod resume;
mod shared_scales;
mod stability;
