//! Layers in codes of other programs, which no scheme here says: one file for each program.
//!
//! From the first to the last, none imports one further down: `program`, `layer`, `parts`, `beside`,
//! `fields`, the programs, `refused`, `catalog`.

mod awq;
mod beside;
mod bitsandbytes;
pub(crate) mod catalog;
mod compressed_tensors;
mod expert_banks;
mod fields;
mod fp4;
mod gptq;
mod hqq;
pub(crate) mod layer;
pub(crate) mod parts;
pub(crate) mod program;
mod quanto;
mod refused;
mod torchao;
