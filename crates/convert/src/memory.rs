use roundwise_scheme::ScaleStorage;
use roundwise_tensor_file::PIECE_BYTES;

use crate::source::weight_kind;
use crate::{Decision, PlannedTensor, Rounding};

/// Program text, stacks and headers; measured, rounded up.
pub const RESIDENT_BYTES: u64 = 36 << 20;

/// A thread's stack, and what the allocator keeps for it; measured, rounded up.
const THREAD_BYTES: u64 = 2 << 20;

/// Bytes of a tile's scale, its largest magnitude and what the search for its best scale notes.
const TILE_BYTES: u64 = 40;

/// Memory of one tensor in flight, by the buffer that it lies in. Threads keep their buffers for
/// the next tensor, so the largest buffers of a thread may stem from different tensors.
#[derive(Clone, Copy, Debug, Default)]
struct InFlight {
    /// Bytes of the input, with the codes that they are decoded from.
    source: u64,
    /// Bytes of the output.
    target: u64,
    /// Scales and what finding them takes.
    scales: u64,
    /// Copies that learned rounding works on, and nearest codes.
    search: u64,
}

/// Largest number of bytes in memory at once, with `threads` tensors in flight: the largest
/// buffers of each kind, [`RESIDENT_BYTES`] for the program itself and [`THREAD_BYTES`] for every
/// thread.
pub(crate) fn peak_bytes(tensors: &[PlannedTensor], rounding: Rounding, threads: usize) -> u64 {
    let costs: Vec<InFlight> = tensors.iter().map(|planned| in_flight(planned, rounding)).collect();
    let in_flight = rounding.tensors_in_flight(threads);
    let largest = |part: fn(&InFlight) -> u64| {
        let mut parts: Vec<u64> = costs.iter().map(part).collect();
        parts.sort_unstable_by(|a, b| b.cmp(a));
        parts.iter().take(in_flight).fold(0, |sum: u64, part| sum.saturating_add(*part))
    };
    let working = threads.min(tensors.len()) as u64;
    [
        largest(|cost| cost.source),
        largest(|cost| cost.target),
        largest(|cost| cost.scales),
        largest(|cost| cost.search),
        working.saturating_mul(THREAD_BYTES),
    ]
    .into_iter()
    .fold(RESIDENT_BYTES, u64::saturating_add)
}

fn in_flight(planned: &PlannedTensor, rounding: Rounding) -> InFlight {
    let header = &planned.header;
    let elements = planned.shape.iter().fold(1u64, |count, &size| count.saturating_mul(size));
    // Codes that are decoded first lie beside their F32 numbers.
    let source = match weight_kind(header.dtype) {
        Some(_) => header.byte_len(),
        None => elements.saturating_mul(5),
    };
    match planned.decision {
        Decision::Copy(_) | Decision::Rename { .. } => {
            InFlight { source: header.byte_len().min(PIECE_BYTES), ..InFlight::default() }
        }
        Decision::Correct(_) | Decision::Remove(_) => InFlight::default(),
        Decision::Decode { dtype, .. } => {
            let target = elements.saturating_mul(dtype.width() as u64);
            InFlight { source, target, ..InFlight::default() }
        }
        Decision::Repack { .. } => {
            // What is packed is unpacked and packed again.
            InFlight { source, target: source, ..InFlight::default() }
        }
        Decision::Quantize { scheme, .. } => {
            let [rows, cols] = planned.matrix_shape();
            let tiles: usize = scheme.tiling().tiles(rows, cols).iter().product();
            let codes = elements.saturating_mul(scheme.grid().code_bytes() as u64);
            // Most are packed where they lie; what has to be filled up goes into a copy.
            let target = match scheme.scale_storage() {
                ScaleStorage::F32(_) | ScaleStorage::Unscaled => codes,
                ScaleStorage::PowerOfTwo | ScaleStorage::TwoLevel => codes.saturating_mul(2),
            };
            let search = match rounding {
                Rounding::Nearest => 0,
                Rounding::Learned(options) => {
                    options.working_bytes(rows, cols).saturating_add(target)
                }
            };
            InFlight { source, target, scales: (tiles as u64).saturating_mul(TILE_BYTES), search }
        }
    }
}
