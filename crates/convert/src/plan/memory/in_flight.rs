use roundwise_scheme::Scheme;
use roundwise_tensor_file::PIECE_BYTES;

use crate::plan::decision::{Decision, PlannedTensor};
use crate::recipe::Rounding;
use crate::source::numbers::float_dtype;

/// Bytes of a tile's scale, its largest magnitude and what the search for its best scale notes.
const TILE_BYTES: u64 = 40;

/// Bytes of some rows of another program's codes that are decoded at once, with the scales that they need.
const FOREIGN_BYTES: u64 = 16 << 20;

/// Memory of one tensor in flight, by the buffer that it lies in. Threads keep their buffers for
/// the next tensor, so the largest buffers of a thread may stem from different tensors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InFlight {
    /// Bytes of the input, with the codes that they are decoded from.
    pub(super) source: u64,
    /// Bytes of the output.
    pub(super) target: u64,
    /// Scales and what finding them takes.
    pub(super) scales: u64,
    /// Copies that learned rounding works on, and nearest codes.
    pub(super) search: u64,
}

impl InFlight {
    /// Returns the sum of all buffers.
    pub(super) fn bytes(&self) -> u64 {
        [self.source, self.target, self.scales, self.search]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Returns the share of some rows; a copy of the codes is made besides, where the whole is
    /// packed in place.
    pub(super) fn of_rows(self, rows: usize, of: usize) -> Self {
        // Rounded up for each row: an estimate may be too large, never too small.
        let share = |bytes: u64| (bytes / of.max(1) as u64 + 1).saturating_mul(rows as u64);
        Self {
            source: share(self.source),
            target: share(self.target),
            scales: share(self.scales),
            search: self.search,
        }
    }
}

/// Returns the memory of a tensor that is worked on as a whole.
pub(super) fn in_flight(planned: &PlannedTensor, rounding: Rounding) -> InFlight {
    let header = &planned.header;
    let elements = planned.shape.iter().fold(1u64, |count, &size| count.saturating_mul(size));
    let source = bytes_of_source(planned, elements);
    match planned.decision {
        Decision::Copy if planned.is_merged => {
            InFlight { source, target: header.byte_len(), ..InFlight::default() }
        }
        Decision::Copy | Decision::Rename { .. } => {
            InFlight { source: header.byte_len().min(PIECE_BYTES), ..InFlight::default() }
        }
        // A corrected bias is a few numbers, and is made with its weight.
        Decision::Correct | Decision::Remove => InFlight::default(),
        // Blocks of GGUF are decoded on reading, piece by piece.
        Decision::Decode { .. } if header.is_in_blocks() && !planned.is_merged => InFlight {
            source: source.min(PIECE_BYTES.saturating_mul(2)),
            target: source.min(PIECE_BYTES),
            ..InFlight::default()
        },
        // Codes of other programs are decoded and written some rows at a time.
        Decision::Decode { .. } if planned.is_foreign && !planned.is_merged => InFlight {
            source: source.min(FOREIGN_BYTES),
            target: source.min(FOREIGN_BYTES),
            ..InFlight::default()
        },
        Decision::Decode { dtype, .. } => {
            let target = elements.saturating_mul(dtype.width() as u64);
            InFlight { source, target, ..InFlight::default() }
        }
        Decision::Repack { .. } => {
            // Packed codes are unpacked and packed again.
            InFlight { source, target: source, ..InFlight::default() }
        }
        Decision::Quantize { scheme, .. } => of_codes(planned, scheme, rounding, source, elements),
    }
}

/// Returns the bytes of the numbers that a tensor is made from.
fn bytes_of_source(planned: &PlannedTensor, elements: u64) -> u64 {
    let header = &planned.header;
    // Codes that are decoded first lie beside their F32 numbers.
    // Where adapters are added, numbers lie there in F32 twice, beside the adapters.
    match float_dtype(header.dtype) {
        _ if planned.is_merged => elements.saturating_mul(12),
        // Plain numbers stay in their dtype and are widened a row at a time.
        Some(_) if !planned.is_in_codes => header.byte_len(),
        _ if planned.is_foreign => elements.saturating_mul(4).saturating_add(FOREIGN_BYTES),
        Some(_) | None => {
            elements.saturating_mul(4).saturating_add(elements.max(header.byte_len()))
        }
    }
}

/// Returns the memory of a weight that becomes codes.
fn of_codes(
    planned: &PlannedTensor,
    scheme: Scheme,
    rounding: Rounding,
    source: u64,
    elements: u64,
) -> InFlight {
    let [rows, cols] = planned.matrix_shape();
    let tiles: usize = scheme.tiling().tiles(rows, cols).iter().product();
    // Of a bank one expert is in memory at a time.
    let experts = planned.experts().unwrap_or(1).max(1) as u64;
    let (source, elements) = (source / experts, elements / experts);
    // Beside its matrix as it lies in the file.
    let is_transposed = planned.is_transposed && planned.experts().is_some();
    let source = if is_transposed { source.saturating_mul(2) } else { source };
    let codes = elements.saturating_mul(scheme.grid().code_bytes() as u64);
    // Most are packed where they lie; what has to be filled up goes into a copy.
    let target = match scheme.is_packed_in_place() {
        true => codes,
        false => codes.saturating_mul(2),
    };
    let search = match rounding {
        Rounding::Learned(options) => options.working_bytes(rows, cols).saturating_add(target),
        Rounding::Nearest => 0,
    };
    InFlight { source, target, scales: (tiles as u64).saturating_mul(TILE_BYTES), search }
}
