//! Writing: what a layout admits, and the tensors that layers and files become.

mod admission;
mod file_tensors;
pub(crate) mod header;
pub(crate) mod layer_tensors;
pub(crate) mod server_config;
