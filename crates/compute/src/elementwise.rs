//! One parallel, vectorised pass over host slices of equal length.
//!
//! Slices are cut into pieces of [`PIECE`] values wherever the threads are, sums are added piece by
//! piece in order, and no product is fused with a sum, so that every number of threads and every
//! instruction set gives the same bits.

use pulp::Arch;
use rayon::prelude::*;

/// Values per piece: 64 KiB of a slice, so that the three to six slices of a pass share a
/// second-level cache.
pub const PIECE: usize = 1 << 14;

/// Computes `a[i] ← a[i] + factor · b[i]`.
pub fn add_scaled(a: &mut [f32], factor: f32, b: &[f32]) {
    update(a, b, |a, b| *a += factor * b);
}

/// Computes `a[i] ← factor · a[i]`.
pub fn scale(a: &mut [f32], factor: f32) {
    let arch = Arch::new();
    a.par_chunks_mut(PIECE).for_each(|a| arch.dispatch(|| a.iter_mut().for_each(|a| *a *= factor)));
}

/// Computes `Σ a[i]²` in `f64`.
#[must_use]
pub fn squared_norm(a: &[f32]) -> f64 {
    sum(a, a, |a, b| f64::from(a) * f64::from(b))
}

/// Computes `Σ a[i] · b[i]` in `f64`.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |a, b| f64::from(a) * f64::from(b))
}

/// Computes `Σ term(a[i], b[i])`: eight interleaved sums within a piece, then the pieces in order.
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f64 + Sync) -> f64 {
    // Eight `f64` fill one register of AVX-512, or two of AVX2: a fixed number gives the same bits
    // on both.
    const LANES: usize = 8;
    assert_eq!(a.len(), b.len(), "slices of one pass");
    let arch = Arch::new();
    let of_piece = |(a, b): (&[f32], &[f32])| {
        arch.dispatch(|| {
            let mut lanes = [0.0; LANES];
            let (a, a_rest) = a.as_chunks::<LANES>();
            let (b, b_rest) = b.as_chunks::<LANES>();
            for (a, b) in a.iter().zip(b) {
                for lane in 0..LANES {
                    lanes[lane] += term(a[lane], b[lane]);
                }
            }
            let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(a, b)).sum();
            lanes.iter().sum::<f64>() + rest
        })
    };
    // Collected before they are added: a parallel sum would add in the order of the threads.
    let pieces: Vec<f64> = a.par_chunks(PIECE).zip(b.par_chunks(PIECE)).map(of_piece).collect();
    pieces.iter().sum()
}

/// Calls `step(&mut values[i], gradient[i])` for every i.
pub fn update(values: &mut [f32], gradient: &[f32], step: impl Fn(&mut f32, f32) + Sync) {
    assert_eq!(values.len(), gradient.len(), "slices of one pass");
    let arch = Arch::new();
    values.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE)).for_each(|(values, gradient)| {
        arch.dispatch(|| {
            for (value, &gradient) in values.iter_mut().zip(gradient) {
                step(value, gradient);
            }
        });
    });
}

/// Calls `step` for every i with a gradient and one slice of state.
pub fn update_1(
    values: &mut [f32],
    gradient: &[f32],
    state: &mut [f32],
    step: impl Fn(&mut f32, f32, &mut f32) + Sync,
) {
    assert!(values.len() == gradient.len() && values.len() == state.len(), "slices of one pass");
    let arch = Arch::new();
    values
        .par_chunks_mut(PIECE)
        .zip(gradient.par_chunks(PIECE))
        .zip(state.par_chunks_mut(PIECE))
        .for_each(|((values, gradient), state)| {
            arch.dispatch(|| {
                for ((value, &gradient), state) in values.iter_mut().zip(gradient).zip(state) {
                    step(value, gradient, state);
                }
            });
        });
}

/// Calls `step` for every i with a gradient and two slices of state.
pub fn update_2(
    values: &mut [f32],
    gradient: &[f32],
    [first, second]: [&mut [f32]; 2],
    step: impl Fn(&mut f32, f32, &mut f32, &mut f32) + Sync,
) {
    let length = values.len();
    assert!([gradient.len(), first.len(), second.len()] == [length; 3], "slices of one pass");
    let arch = Arch::new();
    values
        .par_chunks_mut(PIECE)
        .zip(gradient.par_chunks(PIECE))
        .zip(first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE)))
        .for_each(|((values, gradient), (first, second))| {
            arch.dispatch(|| {
                let states = first.iter_mut().zip(second);
                for ((value, &gradient), (first, second)) in
                    values.iter_mut().zip(gradient).zip(states)
                {
                    step(value, gradient, first, second);
                }
            });
        });
}

/// Calls `step` for every i with a gradient and three slices of state.
pub fn update_3(
    values: &mut [f32],
    gradient: &[f32],
    [first, second, third]: [&mut [f32]; 3],
    step: impl Fn(&mut f32, f32, &mut f32, &mut f32, &mut f32) + Sync,
) {
    let length = values.len();
    assert!(
        [gradient.len(), first.len(), second.len(), third.len()] == [length; 4],
        "slices of one pass"
    );
    let arch = Arch::new();
    values
        .par_chunks_mut(PIECE)
        .zip(gradient.par_chunks(PIECE))
        .zip(first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE)))
        .zip(third.par_chunks_mut(PIECE))
        .for_each(|(((values, gradient), (first, second)), third)| {
            arch.dispatch(|| {
                let states = first.iter_mut().zip(second).zip(third);
                for ((value, &gradient), ((first, second), third)) in
                    values.iter_mut().zip(gradient).zip(states)
                {
                    step(value, gradient, first, second, third);
                }
            });
        });
}
