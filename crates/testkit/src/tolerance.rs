//! Compares numbers that may differ a little, for a stated reason.

/// How far two numbers may be apart, and why.
///
/// ```
/// use roundwise_testkit::tolerance::Tolerance;
///
/// const SUM_ORDER: Tolerance = Tolerance {
///     reason: "sums of 1000 f32 taken in another order",
///     relative: 1e-4,
///     absolute: 1e-7,
/// };
/// SUM_ORDER.assert_close(1.00001, 1.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Why the numbers are not the same; printed when they are too far apart.
    pub reason: &'static str,
    /// Allowed difference as a part of the expected number's magnitude.
    pub relative: f64,
    /// Allowed difference around 0, in the unit of the numbers.
    pub absolute: f64,
}

impl Tolerance {
    /// No difference at all, but 0 and −0 are the same.
    pub const EXACT: Tolerance = Tolerance { reason: "exact", relative: 0.0, absolute: 0.0 };

    /// Returns whether `|actual − expected| ≤ absolute + relative · |expected|`.
    ///
    /// NaN is close to NaN alone, ±∞ to itself alone, so neither can hide in a large tolerance.
    pub fn is_close(&self, actual: f64, expected: f64) -> bool {
        if actual.is_nan() || expected.is_nan() {
            return actual.is_nan() && expected.is_nan();
        }
        if actual.is_infinite() || expected.is_infinite() {
            return actual == expected;
        }
        (actual - expected).abs() <= self.absolute + self.relative * expected.abs()
    }

    /// Panics when the numbers are not close.
    #[track_caller]
    pub fn assert_close(&self, actual: f64, expected: f64) {
        assert!(
            self.is_close(actual, expected),
            "{actual:e} instead of {expected:e}: {}",
            self.describe(actual, expected)
        );
    }

    /// Panics when the slices differ in length or are somewhere not close; shows the first place
    /// and how many there are.
    #[track_caller]
    pub fn assert_all_close(&self, actual: &[f32], expected: &[f32]) {
        assert_eq!(actual.len(), expected.len(), "lengths differ");
        let pairs = || actual.iter().zip(expected).map(|(&a, &e)| (f64::from(a), f64::from(e)));
        let far = |&(actual, expected): &(f64, f64)| !self.is_close(actual, expected);
        let Some(first) = pairs().position(|pair| far(&pair)) else { return };
        let (actual, expected) = (f64::from(actual[first]), f64::from(expected[first]));
        let count = pairs().filter(far).count();
        panic!(
            "{count} of {} values, the first at {first}: {actual:e} instead of {expected:e}: {}",
            pairs().count(),
            self.describe(actual, expected)
        );
    }

    fn describe(&self, actual: f64, expected: f64) -> String {
        format!(
            "apart by {:e}, allowed {:e} + {:e} · |expected| ({})",
            (actual - expected).abs(),
            self.absolute,
            self.relative,
            self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;
    const LOOSE: Tolerance = Tolerance { reason: "test", relative: 0.1, absolute: 0.01 };

    #[test]
    fn near_zero_the_absolute_part_counts() {
        assert!(LOOSE.is_close(0.0, 0.0) && LOOSE.is_close(0.0, -0.0));
        assert!(LOOSE.is_close(0.01, 0.0) && LOOSE.is_close(-0.01, 0.0));
        assert!(!LOOSE.is_close(0.0101, 0.0));
        assert!(Tolerance::EXACT.is_close(-0.0, 0.0));
        assert!(!Tolerance::EXACT.is_close(f64::MIN_POSITIVE, 0.0));
    }

    #[test]
    fn far_from_zero_the_relative_part_counts() {
        assert!(LOOSE.is_close(110.0, 100.0) && LOOSE.is_close(-110.0, -100.0));
        assert!(!LOOSE.is_close(110.1, 100.0) && !LOOSE.is_close(100.0, -100.0));
    }

    #[test]
    fn nan_is_close_to_nan_alone() {
        let infinite = Tolerance { reason: "test", relative: INF, absolute: INF };
        for tolerance in [Tolerance::EXACT, LOOSE, infinite] {
            assert!(tolerance.is_close(f64::NAN, f64::NAN));
            assert!(!tolerance.is_close(f64::NAN, 0.0) && !tolerance.is_close(0.0, f64::NAN));
            assert!(!tolerance.is_close(f64::NAN, INF) && !tolerance.is_close(INF, f64::NAN));
        }
    }

    #[test]
    fn infinity_is_close_to_itself_alone() {
        for tolerance in [Tolerance::EXACT, LOOSE] {
            assert!(tolerance.is_close(INF, INF) && tolerance.is_close(-INF, -INF));
            assert!(!tolerance.is_close(INF, -INF) && !tolerance.is_close(-INF, INF));
            assert!(!tolerance.is_close(f64::MAX, INF) && !tolerance.is_close(INF, f64::MAX));
        }
    }

    #[test]
    #[should_panic(expected = "1 of 3 values, the first at 1")]
    fn slices_show_the_first_place() {
        LOOSE.assert_all_close(&[1.0, f32::NAN, 3.0], &[1.0, 2.0, 3.0]);
    }

    #[test]
    #[should_panic(expected = "lengths differ")]
    fn slices_of_different_lengths_are_not_close() {
        LOOSE.assert_all_close(&[1.0], &[]);
    }
}
