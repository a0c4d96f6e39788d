use pulp::{Arch, NullaryFnOnce};

/// Runs a loop compiled for the widest vectors of this CPU: AVX-512, AVX2 and FMA, NEON, or what
/// the target guarantees. The CPU is asked at run time.
///
/// `body` is a plain loop; the compiler makes the vectors. It must reach the arithmetic through
/// `#[inline(always)]` functions (those of [`Grid`](crate::Grid) are), because a function that is
/// called rather than inlined keeps the instructions of the target. Floating-point arithmetic is
/// never reordered or fused, so results do not depend on the CPU, but for the payload of a NaN. A
/// call costs a few nanoseconds: put it around rows or tiles, not around values. A `body` of more than a
/// line is written `#[inline(always)] || …`, for the same reason.
///
/// ```
/// use roundwise_grid::{E4m3, Grid, vectorized};
///
/// let mut values = [0.3, 1.07, -500.0];
/// vectorized(|| {
///     for value in &mut values {
///         *value = E4m3::round(*value);
///     }
/// });
/// assert_eq!(values, [0.3125, 1.125, -448.0]);
/// ```
#[inline]
pub fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    run(body)
}

/// Runs a loop as [`vectorized`] does, given as an object, whose `call` can be marked
/// `#[inline(always)]`. A closure cannot, and large ones are not inlined.
#[inline(always)]
pub(crate) fn run<Kernel: NullaryFnOnce>(kernel: Kernel) -> Kernel::Output {
    Arch::new().dispatch(kernel)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use pulp::Simd;
    use pulp::x86::{V3, V4};

    use crate::squares::{EncodeMeasured, Scales};
    use crate::{E2m1, E4m3, E5m2, F16, Grid, Int4, Int8, Squares};

    /// Computes codes and sums of some values, through one instruction set.
    fn measured<G: Grid, S: Simd>(simd: S, values: &[f32]) -> (Vec<G::Code>, Squares) {
        let mut codes = vec![G::Code::default(); values.len()];
        let kernel = EncodeMeasured::<G> { values, scales: Scales::One(0.37), codes: &mut codes };
        let squares = simd.vectorize(kernel);
        (codes, squares)
    }

    fn compare<G: Grid>() {
        let values: Vec<f32> = (0..10_001).map(|i| ((i * 7919) % 10_007) as f32 - 5000.5).collect();
        let values: Vec<f32> = values.iter().map(|x| x * x * x * 1e-9).collect();
        let scalar = measured::<G, _>(pulp::Scalar, &values);
        if let Some(avx2) = V3::try_new() {
            assert_eq!(measured::<G, _>(avx2, &values), scalar, "{:?}", G::KIND);
        }
        if let Some(avx512) = V4::try_new() {
            assert_eq!(measured::<G, _>(avx512, &values), scalar, "{:?}", G::KIND);
        }
    }

    #[test]
    fn all_instruction_sets_give_the_same_bits() {
        compare::<E2m1>();
        compare::<E4m3>();
        compare::<E5m2>();
        compare::<Int4>();
        compare::<Int8>();
        compare::<F16>();
    }
}
