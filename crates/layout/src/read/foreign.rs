//! Layers in codes of other programs, which no scheme here says: one file for each program.
//!
//! From the first to the last, none imports one further down: `program`, `layer`, `parts`, `file`,
//! `fields`, the programs, `refused`, `catalog`.

mod awq;
mod bitsandbytes;
pub(crate) mod catalog;
mod compressed_tensors;
mod expert_banks;
mod fields;
pub(crate) mod file;
pub(crate) mod fp4;
mod gptq;
mod hqq;
pub(crate) mod layer;
pub(crate) mod parts;
pub(crate) mod program;
mod quanto;
pub(crate) mod refused;
mod torchao;
