//! Reading: which layers of a file are quantized already, by which spelling, and their defects.
//!
//! From the first to the last, none imports one further down: `spelling`, `defect`, `finite`,
//! `foreign`, `expert_blocks`, `joined`, `stored_layer`, `odd_scales`, `side_tensors`, `markers`, `server_blocks`,
//! `servers`, `packed`, `bank`, `scales`, `header_scales`, `model_scales`, `recognise`, `stored_layers`, `companions`, `orphans`,
//! `described_codes`, `contradictions`, `find`, `repair`.

mod bank;
mod companions;
mod contradictions;
pub(crate) mod defect;
mod described_codes;
pub(crate) mod expert_blocks;
mod find;
mod finite;
pub(crate) mod foreign;
mod header_scales;
mod joined;
mod markers;
mod model_scales;
mod odd_scales;
mod orphans;
mod packed;
mod recognise;
pub(crate) mod repair;
mod scales;
mod server_blocks;
mod servers;
mod side_tensors;
pub(crate) mod spelling;
pub(crate) mod stored_layer;
pub(crate) mod stored_layers;
