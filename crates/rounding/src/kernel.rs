//! Kernels that move one line of cells at once.

use pulp::{Arch, Simd, WithSimd};
use roundwise_grid::Grid;

const LANES: usize = 16;

/// A line of cells, and the push on each.
pub(crate) struct Line<'a> {
    /// Grid values of the codes.
    pub(crate) values: &'a mut [f32],
    pub(crate) weights: &'a [f32],
    pub(crate) scales: &'a [f32],
    /// `‖l_i‖²` of every cell.
    pub(crate) left_energies: &'a [f32],
    /// `(L Kᵀ r)_i` on entry, the change of `E_i` on return.
    pub(crate) push: &'a mut [f32],
    /// `‖r‖²` of the line.
    pub(crate) right_energy: f32,
    pub(crate) lambda: f32,
    pub(crate) damping: f32,
}

/// Moves every cell to the grid value next to the minimum of its parabola.
///
/// With `E = value · scale − weight`, `g = push + λE` and
/// `c = damping · left_energy · right_energy + λ`, the objective along one cell is
/// `2dg + d²c`; `value ← round(value − g / (c · scale))`. Where neighbours are not equally far, the
/// nearest grid value is still the best one, because a parabola is symmetric. Returns `‖E‖²` of the
/// line afterwards.
pub(crate) fn descend<G: Grid>(line: Line<'_>) -> f64 {
    Arch::new().dispatch(Descend::<G>(line, std::marker::PhantomData))
}

struct Descend<'a, G>(Line<'a>, std::marker::PhantomData<G>);

impl<G: Grid> WithSimd for Descend<'_, G> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f64 {
        let Line { values, weights, scales, left_energies, push, .. } = self.0;
        let factors = [self.0.right_energy, self.0.lambda, self.0.damping];
        let cells = weights.iter().zip(scales).zip(left_energies);
        for ((value, push), ((&weight, &scale), &energy)) in values.iter_mut().zip(push).zip(cells)
        {
            *push = descend_one::<G>(value, [weight, scale, energy], *push, factors);
        }
        energy(values, scales, weights)
    }
}

/// Returns `‖E‖²` of a line.
///
/// Sixteen sums, whatever the width of the CPU's vectors, because their order, and with it the last bits, must
/// not depend on the machine. In a loop of its own: in the loop that moves the cells, the sums would
/// keep it from becoming vectors, which takes up to seven times as long.
#[inline(always)]
fn energy(values: &[f32], scales: &[f32], weights: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (values, values_rest) = values.as_chunks::<LANES>();
    let (scales, scales_rest) = scales.as_chunks::<LANES>();
    let (weights, weights_rest) = weights.as_chunks::<LANES>();
    let add = |sum: &mut f64, value: f32, scale: f32, weight: f32| {
        let error = f64::from(value * scale - weight);
        *sum += error * error;
    };
    for ((values, scales), weights) in values.iter().zip(scales).zip(weights) {
        for lane in 0..LANES {
            add(&mut sums[lane], values[lane], scales[lane], weights[lane]);
        }
    }
    for (lane, value) in values_rest.iter().enumerate() {
        add(&mut sums[lane], *value, scales_rest[lane], weights_rest[lane]);
    }
    sums.iter().sum()
}

/// Descends on one cell, the definition of the kernel. Returns the change of its error.
#[inline(always)]
fn descend_one<G: Grid>(
    value: &mut f32,
    [weight, scale, left_energy]: [f32; 3],
    push: f32,
    [right_energy, lambda, damping]: [f32; 3],
) -> f32 {
    let before = *value * scale - weight;
    let gradient = push + lambda * before;
    let curvature = damping * left_energy * right_energy + lambda;
    // With λ = 0 a cell that nothing pushes has no curvature either; it stays.
    let curvature = curvature.max(f32::MIN_POSITIVE);
    *value = G::round(*value - gradient / curvature / scale);
    let after = *value * scale - weight;
    after - before
}

/// Sets `a[i] ← a[i] + factor · b[i]`, on one thread.
pub(crate) fn add_scaled(a: &mut [f32], factor: f32, b: &[f32]) {
    let cells = a.iter_mut().zip(b);
    Arch::new().dispatch(|| cells.for_each(|(a, b)| *a += factor * b));
}

/// Shifts every weight before rounding it: `value ← round((weight + shift) / scale)`.
///
/// The shift is `factor · push`, held within `reach` steps of the cell, or coarse cells would push more error into
/// fine ones than these can take. `push` is E on return; returns `‖E‖²`.
pub(crate) fn shift<G: Grid>(line: Line<'_>, factor: f32, reach: f32) -> f64 {
    Arch::new().dispatch(Shift::<G>(line, [factor, reach], std::marker::PhantomData))
}

struct Shift<'a, G>(Line<'a>, [f32; 2], std::marker::PhantomData<G>);

impl<G: Grid> WithSimd for Shift<'_, G> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f64 {
        let Self(Line { values, weights, scales, push, .. }, [factor, reach], _) = self;
        let cells = weights.iter().zip(scales);
        for ((value, push), (&weight, &scale)) in values.iter_mut().zip(push).zip(cells) {
            let target = weight / scale;
            // The step is that of this cell: on floating grids it doubles with every binade.
            let step = G::step(target) * reach;
            *value = G::round(target + (factor * *push / scale).max(-step).min(step));
            *push = *value * scale - weight;
        }
        energy(values, scales, weights)
    }
}
