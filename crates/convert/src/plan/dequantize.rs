//! What tensors become when whatever is in codes is to be plain numbers again.

use roundwise_tensor_file::TensorHeader;

use crate::plan::decide::served_layer;
use crate::plan::plan::Decision;
use crate::plan::reason::Reason;
use crate::recipe::PlainDtype;
use crate::source::Source;

/// Codes become numbers, their scales and markers go, and everything else stays.
pub(crate) fn decide(source: &Source, header: &TensorHeader, dtype: PlainDtype) -> Decision {
    if let Some(owner) = source.stored.side_tensors.get(&header.name) {
        return match served_layer(source, owner) {
            Ok(_) => Decision::Remove(Reason::Superseded),
            Err(decision) => decision,
        };
    }
    match source.stored_layer(header) {
        Some(stored) => Decision::Decode { dtype, reason: Reason::Dequantized.of_stored(stored) },
        None => Decision::Copy(Reason::NotInCodes),
    }
}
