//! Decisions for tensors whose codes are to be plain numbers again.

use roundwise_tensor_file::TensorHeader;

use crate::plan::decision::{Decision, NotFinite};
use crate::plan::questions::served_layer;
use crate::plan::reason::Reason;
use crate::recipe::PlainDtype;
use crate::source::Source;
use crate::source::numbers::fp8_grid;

/// Decodes codes, blocks of GGUF, and FP8 numbers that need no scale whatever their name and shape; leaves scales and
/// markers out, and keeps everything else.
pub(crate) fn decide(
    source: &Source,
    header: &TensorHeader,
    dtype: PlainDtype,
    not_finite: &NotFinite,
) -> (Decision, Reason) {
    let decoded = match not_finite.get(&header.name) {
        Some(&row) => Reason::NotFinite { row },
        None => Reason::Dequantized,
    };
    if let Some(owner) = source.stored.side_tensors.get(&header.name) {
        return match served_layer(source, owner) {
            Ok(_) => (Decision::Remove, Reason::Superseded),
            Err(verdict) => verdict.of_plain_tensor(),
        };
    }
    if source.stored.strays.contains(&header.name) {
        return (Decision::Remove, Reason::Stray);
    }
    // Codes of other programs, then blocks of GGUF and those of schemes, then FP8 that is a number by itself.
    if let Some(foreign) = source.foreign_layer(header) {
        return (Decision::Decode { dtype }, Reason::Dequantized.of_foreign(foreign));
    }
    match source.stored_layer(header) {
        None if header.is_in_blocks() => {
            (Decision::Decode { dtype }, Reason::Blocks(header.stored_as()))
        }
        Some(stored) => (Decision::Decode { dtype }, decoded.of_stored(stored)),
        None if fp8_grid(header.dtype).is_some() => (Decision::Decode { dtype }, decoded),
        None => (Decision::Copy, Reason::NotInCodes),
    }
}
