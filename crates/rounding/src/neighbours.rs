use roundwise_grid::Grid;

/// Returns the grid values next to `target`, below (or at) it and above it; one value twice at the
/// ends of the grid.
#[inline(always)]
pub(crate) fn neighbours<G: Grid>(target: f32) -> (f32, f32) {
    let nearest = G::round(target);
    if nearest <= target { (nearest, G::above(nearest)) } else { (G::below(nearest), nearest) }
}
