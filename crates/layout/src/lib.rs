//! Tensor names, packing and markers of each consumer.
//!
//! Writing: [`Layout`] says which tensors a quantized layer becomes ([`Layout::layer_tensors`],
//! known before any arithmetic) and turns codes and scales into their bytes ([`Layout::pack`]).
//! Reading: [`StoredLayers::find`] recognises the layers of a file that are quantized already, by
//! any spelling it knows, with everything that is wrong about them.
//!
//! ```
//! use roundwise_layout::{Layout, MatmulPrecision};
//! use roundwise_scheme::Scheme;
//!
//! let scheme: Scheme = "int8-row".parse()?;
//! let tensors = Layout::Comfy.layer_tensors("blocks.0.q", scheme, MatmulPrecision::Any, [64, 32]);
//! let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
//! assert_eq!(names, ["blocks.0.q.weight", "blocks.0.q.weight_scale", "blocks.0.q.comfy_quant"]);
//! assert_eq!(tensors[1].shape, [64, 1]);
//! # Ok::<(), roundwise_scheme::SchemeError>(())
//! ```
//!
//! Modules import each other by their paths, and in one direction: `names`, `served` ← `packing` ←
//! `marker` ← `write`, `read`.

mod error;
mod input_scale;
mod layer_shape;
mod layout;
mod legacy;
mod marker;
mod matmul_precision;
mod names;
mod opened_by;
mod opener;
mod packing;
mod read;
mod served;
mod write;

pub use error::LayoutError;
pub use input_scale::InputScale;
pub use layer_shape::LayerShape;
pub use layout::Layout;
pub use marker::{MARKER_LIMIT_BYTES, Marker, QUANTIZATION_METADATA, is_marker};
pub use matmul_precision::MatmulPrecision;
pub use names::{
    OUTPUT_HEAD, bias_of, input_scale_of, layer_of, layer_of_bias, layer_of_input_scale,
    layer_of_legacy_input_scale, layer_of_weight, legacy_input_scale_of, weight_of,
};
pub use opened_by::{
    ExpertStorage, opener, opener_of_banks, opener_of_experts, reads_banks, reads_input_scale,
    reads_tables,
};
pub use opener::{Opener, OpenerKind, Servers};
pub use read::defect::Defect;
pub use read::expert_blocks::ExpertBlocks;
pub use read::foreign::catalog::FOREIGN_PROGRAMS;
pub use read::foreign::layer::ForeignLayer;
pub use read::foreign::program::ForeignProgram;
pub use read::foreign::refused::REFUSED_PROGRAMS;
pub use read::repair::{Repair, RepairedLayers};
pub use read::spelling::Spelling;
pub use read::stored_layer::StoredLayer;
pub use read::stored_layers::StoredLayers;
pub use write::header::with_header_entries;
pub use write::layer_tensors::PackedTensor;
pub use write::server_config::{ServedLayers, ServerConfig};
