use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::Path;

use roundwise_scheme::{ScaleRule, Scheme, Tiling};
use roundwise_tensor_file::{PIECE_BYTES, Sharding};
use serde::Serialize;

use crate::plan::decision::{Decision, PlannedTensor};
use crate::recipe::{Purpose, Recipe, Rounding};
use crate::source::Source;
use crate::source::model_config::stays_folder;
use crate::source::numbers::float_dtype;

/// Limits of files and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of tensors in a file. With it the output is a folder: shards, their index, and what
    /// lay beside the weights of the input, such as a tokenizer.
    pub shard_bytes: Option<u64>,
    /// Most bytes of memory.
    pub memory_bytes: Option<u64>,
}

/// Most bytes of a shard where nobody says: what Hugging Face's own programs write.
const SHARD_BYTES: u64 = 5_000_000_000;

impl Limits {
    /// Returns the limits with one for shards where an output has to be a folder.
    #[must_use]
    pub fn for_recipe(self, recipe: &Recipe) -> Self {
        let shard_bytes = self.shard_bytes.or(recipe.makes_folder().then_some(SHARD_BYTES));
        Self { shard_bytes, ..self }
    }

    /// Returns the limits with one for shards where the folder of a language model is decoded, repaired or edited:
    /// it stays a folder, with all that servers read, unless a single file is named for it.
    ///
    /// - `output`: where somebody named it
    #[must_use]
    pub fn for_rewriting(self, recipe: &Recipe, input: &Path, output: Option<&Path>) -> Self {
        let is_rewritten = match recipe.purpose() {
            Purpose::Decode(_) | Purpose::Repair | Purpose::Edit => true,
            Purpose::Quantize | Purpose::Migrate => false,
        };
        let stays = is_rewritten && stays_folder(input, output);
        Self { shard_bytes: self.shard_bytes.or(stays.then_some(SHARD_BYTES)), ..self }
    }

    /// Returns how the output is shared out over files, where it is a folder.
    pub(crate) fn sharding(self, source: &Source) -> Option<Sharding> {
        const DIFFUSERS: &str = "diffusion_pytorch_model";
        let limit_bytes = self.shard_bytes?;
        let names = source.checkpoint.files().iter().filter_map(|file| file.path().file_name());
        let is_diffusers = |name: &OsStr| name.to_string_lossy().starts_with(DIFFUSERS);
        // The stem of the input where all its files agree, so that programs find the output under
        // the name they expect.
        let stem = if names.clone().all(is_diffusers) { DIFFUSERS } else { "model" };
        Some(Sharding { stem: stem.to_owned(), limit_bytes })
    }
}

/// The threads and devices that work on tensors at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Threads of the CPU.
    pub threads: NonZeroUsize,
    /// Devices that searches are computed on, at least one.
    pub devices: usize,
}

impl From<NonZeroUsize> for Workers {
    /// Returns these threads with one device.
    fn from(threads: NonZeroUsize) -> Self {
        Self { threads, devices: 1 }
    }
}

/// Returns how many tensors are worked on at once. A search keeps its device busy with one matrix;
/// a second one fills its pauses.
pub(crate) fn tensors_in_flight(rounding: Rounding, workers: Workers) -> usize {
    let threads = workers.threads.get();
    match rounding {
        Rounding::Nearest => threads,
        Rounding::Learned(_) => threads.min(workers.devices.saturating_mul(2)),
    }
}

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

/// Bytes of the rows that are read, rounded, hashed and written together: few enough that the caches of a
/// core hold them with their codes, for memory is several times slower, and fresh memory slower still.
pub(crate) const CACHED_BYTES: u64 = 256 << 10;

/// Bytes of the rows that are worked on at once where reading is decoding.
const BAND_BYTES: u64 = 8 << 20;

/// Bytes of some rows of another program's codes that are decoded at once, with the scales that they need.
const FOREIGN_BYTES: u64 = 16 << 20;

/// Rows of a group of swizzled scales.
const ROW_GROUP: u64 = 128;

/// How a conversion stays within a limit of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Tensors in flight at once.
    pub threads: NonZeroUsize,
    /// Largest number of bytes in memory at once.
    pub peak_bytes: u64,
    /// Weights that are decoded twice, some rows at a time, because as a whole they do not fit.
    pub banded_weights: usize,
}

impl MemoryPlan {
    /// Fits a plan's tensors into a limit with as many of them in flight as possible. Weights that are cheap to
    /// read are worked on by bands of rows that fit into a cache, which their decisions note; where one of the
    /// others alone is too large, the largest of them are as well.
    ///
    /// - `may_band`: whether weights may be worked on by bands at all
    ///
    /// # Errors
    /// The bytes that are needed at least.
    pub(crate) fn fit(
        tensors: &mut [PlannedTensor],
        rounding: Rounding,
        rule: ScaleRule,
        workers: Workers,
        limit: Option<u64>,
        may_band: bool,
    ) -> Result<Self, u64> {
        for planned in tensors.iter_mut().filter(|planned| may_band && is_cheap_to_read(planned)) {
            let rows = possible_band_rows(planned, rounding, rule, CACHED_BYTES);
            planned.set_band_rows(rows);
        }
        let peak_bytes = |tensors: &[PlannedTensor], threads| {
            peak_bytes(tensors, rounding, Workers { threads, ..workers }, limit)
        };
        let unlimited = |tensors: &[PlannedTensor], threads| Self {
            threads,
            peak_bytes: peak_bytes(tensors, threads),
            banded_weights: 0,
        };
        let Some(limit) = limit else { return Ok(unlimited(tensors, workers.threads)) };
        // Fewer threads before more bands: those are decoded twice, a thread less costs only its own work.
        let counts = (1..=workers.threads.get()).rev().filter_map(NonZeroUsize::new);
        let mut plans = counts.map(|threads| unlimited(tensors, threads));
        if let Some(plan) = plans.find(|plan| plan.peak_bytes <= limit) {
            return Ok(plan);
        }
        let mut plan = unlimited(tensors, NonZeroUsize::MIN);
        // The largest weight first, until the rest fits: few weights by bands cost less time than
        // many, since each is read twice.
        let mut by_size: Vec<(u64, usize, usize)> = tensors
            .iter()
            .enumerate()
            .filter(|(_, planned)| may_band && planned.band_rows().is_none())
            .filter_map(|(index, planned)| {
                let rows = possible_band_rows(planned, rounding, rule, BAND_BYTES)?;
                Some((in_flight(planned, rounding).bytes(), index, rows))
            })
            .collect();
        // A stable sort: of weights of one size those first in the file are taken, on every run.
        by_size.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
        for (_, index, rows) in by_size {
            if plan.peak_bytes <= limit {
                break;
            }
            tensors[index].set_band_rows(Some(rows));
            plan.banded_weights += 1;
            plan.peak_bytes = peak_bytes(tensors, plan.threads);
        }
        if plan.peak_bytes <= limit { Ok(plan) } else { Err(plan.peak_bytes) }
    }
}

/// Tells whether rows can be read again for little: from the system's cache, as they are.
fn is_cheap_to_read(planned: &PlannedTensor) -> bool {
    planned.header.is_stored_by_rows() && !planned.is_in_codes
}

/// Returns the rows of a band of a weight, about `band_bytes` of them, if it can be worked on by bands.
fn possible_band_rows(
    planned: &PlannedTensor,
    rounding: Rounding,
    rule: ScaleRule,
    band_bytes: u64,
) -> Option<usize> {
    let Decision::Quantize { scheme, .. } = planned.decision else { return None };
    if planned.experts().is_some() {
        return None;
    }
    // In the dtype that rows are read as: another program's codes come as F32.
    let width = match planned.is_foreign {
        true => size_of::<f32>(),
        false => float_dtype(planned.header.dtype)?.byte_len(),
    };
    let is_decoded_whole = planned.is_in_codes && !planned.is_foreign;
    let is_whole = planned.is_merged || is_decoded_whole || !scheme.is_by_band(rule);
    // Adapters, codes that are decoded whole and searches need all of a weight; so does a scale of the
    // whole tensor that is searched for.
    if rounding != Rounding::Nearest || is_whole {
        return None;
    }
    let [rows, cols] = planned.matrix_shape();
    let group = row_group(scheme);
    let row_bytes = (cols as u64).checked_mul(width as u64)?.max(1);
    // Whole groups, so that a band's scales fill whole pieces of the swizzled tensor.
    let band = (band_bytes / row_bytes / group).max(1).checked_mul(group)?;
    // A band as high as the weight would save nothing and cost the second reading.
    usize::try_from(band).ok().filter(|&band| band < rows)
}

/// Returns the number that the rows of a band are a multiple of. Where tiles are higher than a row,
/// scales are not swizzled.
fn row_group(scheme: Scheme) -> u64 {
    match scheme.tiling() {
        Tiling::Block { rows, .. } if rows > 1 => rows as u64,
        _ if scheme.has_block_scales() => ROW_GROUP,
        // Short codes come out even.
        Tiling::Block { .. } | Tiling::Tensor | Tiling::Row => 8,
    }
}

impl InFlight {
    fn bytes(&self) -> u64 {
        [self.source, self.target, self.scales, self.search]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Returns the share of some rows; a copy of the codes is made besides, where the whole is
    /// packed in place.
    fn of_rows(self, rows: usize, of: usize) -> Self {
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

/// Returns the weights that are measured once more when the output has been read again: of nearest codes the
/// smallest one of each scheme, whose mistakes are those of all; without those that, held whole by as many
/// threads as there are, do not fit into `limit`.
pub(crate) fn measured_again(
    tensors: &[PlannedTensor],
    rounding: Rounding,
    workers: Workers,
    limit: Option<u64>,
) -> Vec<&PlannedTensor> {
    let all = tensors.iter().filter_map(|planned| Some((planned.scheme()?.to_string(), planned)));
    if let Rounding::Learned(_) = rounding {
        return all.map(|(_, planned)| planned).collect();
    }
    let mut smallest = BTreeMap::<String, &PlannedTensor>::new();
    for (scheme, planned) in all {
        let least = smallest.entry(scheme).or_insert(planned);
        if planned.header.byte_len() < least.header.byte_len() {
            *least = planned;
        }
    }
    let mut chosen: Vec<&PlannedTensor> = smallest.into_values().collect();
    chosen.sort_by_key(|planned| in_flight(planned, rounding).bytes());
    let whole = |chosen: &[&PlannedTensor]| {
        let costs = chosen.iter().map(|planned| in_flight(planned, rounding)).collect();
        sum_of_largest(costs, tensors_in_flight(rounding, workers), workers.threads.get() as u64)
    };
    while limit.is_some_and(|limit| whole(&chosen) > limit) && chosen.pop().is_some() {}
    chosen
}

/// Returns the largest number of bytes in memory at once, with `threads` tensors in flight: the
/// largest buffers of each kind, [`RESIDENT_BYTES`] for the program itself and [`THREAD_BYTES`] for
/// every thread.
///
/// - `limit`: leaves out of the check of the output what does not fit
pub(crate) fn peak_bytes(
    tensors: &[PlannedTensor],
    rounding: Rounding,
    workers: Workers,
    limit: Option<u64>,
) -> u64 {
    let cost = |planned: &PlannedTensor| {
        let whole = in_flight(planned, rounding);
        match planned.band_rows() {
            Some(rows) => whole.of_rows(rows, planned.matrix_shape()[0]),
            None => whole,
        }
    };
    let at_once = tensors_in_flight(rounding, workers);
    // Never more threads than tensors: a thread without one never touches its stack.
    let working = workers.threads.get().min(tensors.len()) as u64;
    let converting = sum_of_largest(tensors.iter().map(cost).collect(), at_once, working);
    let measured = measured_again(tensors, rounding, workers, limit);
    let measured = measured.into_iter().map(|planned| in_flight(planned, rounding));
    converting.max(sum_of_largest(measured.collect(), at_once, working))
}

/// Adds the largest buffers of each kind up, with what threads and the program itself take.
fn sum_of_largest(costs: Vec<InFlight>, in_flight: usize, threads: u64) -> u64 {
    let largest = |part: fn(&InFlight) -> u64| {
        let mut parts: Vec<u64> = costs.iter().map(part).collect();
        // The largest of each buffer, not of each tensor: a thread keeps its buffers for the next one.
        parts.sort_unstable_by(|a, b| b.cmp(a));
        parts.iter().take(in_flight).fold(0, |sum: u64, part| sum.saturating_add(*part))
    };
    [
        largest(|cost| cost.source),
        largest(|cost| cost.target),
        largest(|cost| cost.scales),
        largest(|cost| cost.search),
        threads.saturating_mul(THREAD_BYTES),
    ]
    .into_iter()
    .fold(RESIDENT_BYTES, u64::saturating_add)
}

fn in_flight(planned: &PlannedTensor, rounding: Rounding) -> InFlight {
    let header = &planned.header;
    let elements = planned.shape.iter().fold(1u64, |count, &size| count.saturating_mul(size));
    // Codes that are decoded first lie beside their F32 numbers.
    // Where adapters are added, numbers lie there in F32 twice, beside the adapters.
    let source = match float_dtype(header.dtype) {
        _ if planned.is_merged => elements.saturating_mul(12),
        // Plain numbers stay in their dtype and are widened a row at a time.
        Some(_) if !planned.is_in_codes => header.byte_len(),
        _ if planned.is_foreign => elements.saturating_mul(4).saturating_add(FOREIGN_BYTES),
        Some(_) | None => {
            elements.saturating_mul(4).saturating_add(elements.max(header.byte_len()))
        }
    };
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
        Decision::Quantize { scheme, .. } => {
            let [rows, cols] = planned.matrix_shape();
            let tiles: usize = scheme.tiling().tiles(rows, cols).iter().product();
            // Of a bank one expert is in memory at a time.
            let experts = planned.experts().unwrap_or(1).max(1) as u64;
            let (source, elements) = (source / experts, elements / experts);
            let codes = elements.saturating_mul(scheme.grid().code_bytes() as u64);
            // Most are packed where they lie; what has to be filled up goes into a copy.
            let target = match scheme.is_packed_in_place() {
                true => codes,
                false => codes.saturating_mul(2),
            };
            let search = match rounding {
                // Experts of a bank get nearest codes.
                Rounding::Learned(options) if planned.experts().is_none() => {
                    options.working_bytes(rows, cols).saturating_add(target)
                }
                Rounding::Nearest | Rounding::Learned(_) => 0,
            };
            InFlight { source, target, scales: (tiles as u64).saturating_mul(TILE_BYTES), search }
        }
    }
}
