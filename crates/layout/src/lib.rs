//! Tensor names, packing and markers of each consumer.
//!
//! Writing: [`Layout`] says which tensors a quantized layer becomes ([`Layout::layer_tensors`],
//! known before any arithmetic) and turns codes and scales into their bytes ([`Layout::pack`]).
//! Reading: [`StoredLayers::find`] recognises the layers of a file that are quantized already, by
//! any spelling it knows, with everything that is wrong about them.

mod client;
mod describe;
mod describe_packed;
mod describe_servers;
mod error;
mod form;
mod layout;
mod marker;
mod markers;
mod mend;
mod names;
mod nibbles;
mod products;
mod stored;
mod stored_layer;
mod swizzle;

pub use client::{Client, client};
pub use error::LayoutError;
pub use layout::{Layout, PackedTensor, QUANTIZATION_METADATA, with_header_entries};
pub use marker::{MARKER_LIMIT_BYTES, Marker};
pub use mend::{Mend, MendedLayers};
pub use names::{bias_of, layer_of, layer_of_bias, layer_of_weight, weight_of};
pub use products::Products;
pub use stored::{Defect, StoredLayers};
pub use stored_layer::{Origin, StoredLayer};
