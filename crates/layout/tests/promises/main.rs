//! Promises of the layouts.
//!
//! They are one program: every further one would be linked with all that is tested.

mod any_shape;
mod common;
mod foreign_codes;
mod matches_reference;
mod orphans;
mod reads_others;
mod refuses_others;
mod servers;
