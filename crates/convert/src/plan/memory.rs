mod in_flight;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use roundwise_scheme::{ScaleRule, Scheme, Tiling};
use serde::Serialize;

use crate::plan::decision::{Decision, PlannedTensor};
use crate::plan::memory::in_flight::{InFlight, in_flight};
use crate::recipe::Rounding;
use crate::source::numbers::float_dtype;

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
pub const RESIDENT_BYTES: u64 = 40 << 20;

/// A thread's stack, and what the allocator keeps for it; measured, rounded up.
const THREAD_BYTES: u64 = 2 << 20;

/// Bytes of the rows that are read, rounded, hashed and written together: few enough that the caches of a
/// core hold them with their codes, for memory is several times slower, and fresh memory slower still.
pub(crate) const CACHED_BYTES: u64 = 256 << 10;

/// Bytes of the rows that are worked on at once where reading is decoding.
const BAND_BYTES: u64 = 8 << 20;

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
