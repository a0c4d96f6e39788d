use roundwise_grid::vectorized;

/// Tiles whose largest magnitude lies below this are stored as zeros with scale 1, where scales are
/// F32.
///
/// The floor that the published converters clamp at before they divide.
pub const ZERO_ABSMAX: f32 = 1e-12;

/// Turns each of many largest magnitudes into a scale. There may be a tile for every few weights.
pub(super) fn map_maxima(maxima: &mut [f32], scale: impl Fn(f32) -> f32) {
    vectorized(
        #[inline(always)]
        || maxima.iter_mut().for_each(|maximum| *maximum = scale(*maximum)),
    );
}

/// Returns `maximum / largest_code`, and 1 for a tile of zeros.
#[inline(always)]
pub(super) fn absmax_scale(maximum: f32, largest_code: f32) -> f32 {
    if maximum < ZERO_ABSMAX {
        return 1.0;
    }
    let scale = maximum / largest_code;
    // Near the largest f32 a quotient that was rounded up would decode to infinity. That of an infinity stays
    // one, which is how zero points tell of a weight that is none.
    let overflows = maximum.is_finite() && !(scale * largest_code).is_finite();
    if overflows { scale.next_down() } else { scale }
}
