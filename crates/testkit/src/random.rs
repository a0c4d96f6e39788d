//! Random numbers whose sequence is part of this crate's promise: same seed, same bits, forever.

/// A splitmix64 sequence.
///
/// # Source
/// Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts the sequence of `seed`; any number is as good as any other.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// Returns 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a uniform number in [0, 1), in steps of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a uniform whole number in `0..end`. The bias for small `end` is far below what tests
    /// notice.
    ///
    /// # Panics
    /// When `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// Returns an about normal number with mean 0 and variance 1, within ±6: twelve uniform numbers
    /// minus 6.
    ///
    /// Only additions, because logarithms and cosines differ between systems in the last bit.
    pub fn gaussian(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// Returns any finite f32, all bit patterns equally likely: half of them below 1, some
    /// subnormal.
    pub fn finite_f32(&mut self) -> f32 {
        loop {
            let value = f32::from_bits((self.bits() >> 32) as u32);
            if value.is_finite() {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1234567);
        let expected = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        assert_eq!(expected.map(|_| random.bits()), expected);
    }

    #[test]
    fn gaussian_has_mean_zero_and_variance_one() {
        let mut random = Random::new(1);
        let numbers: Vec<f64> = (0..100_000).map(|_| random.gaussian()).collect();
        let mean = numbers.iter().sum::<f64>() / 1e5;
        let variance = numbers.iter().map(|x| x * x).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
