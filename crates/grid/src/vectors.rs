use pulp::{Arch, NullaryFnOnce};

/// Runs a loop compiled for the widest vectors of this CPU: AVX-512, AVX2 and FMA, NEON, or what
/// the target guarantees. The CPU is asked at run time.
///
/// `body` is a plain loop; the compiler makes the vectors. It must reach the arithmetic through
/// `#[inline(always)]` functions (those of [`Grid`](crate::Grid) are), because a function that is
/// called rather than inlined keeps the instructions of the target. Floating-point arithmetic is
/// never reordered or fused, so results do not depend on the CPU. A call costs a few nanoseconds:
/// put it around rows or tiles, not around values.
#[inline]
pub fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(body)
}

/// [`vectorized`] for a loop as an object, whose `call` is certain to be inlined. The compiler
/// cannot be told that of a closure, and does leave out large ones.
#[inline(always)]
pub(crate) fn run<Kernel: NullaryFnOnce>(kernel: Kernel) -> Kernel::Output {
    struct Inlined<Kernel>(Kernel);
    impl<Kernel: NullaryFnOnce> pulp::WithSimd for Inlined<Kernel> {
        type Output = Kernel::Output;

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _simd: S) -> Self::Output {
            self.0.call()
        }
    }
    Arch::new().dispatch(Inlined(kernel))
}
