use rayon::prelude::*;

use crate::Matrix;
use crate::elementwise::PIECE;

/// A sequence of normally distributed numbers, mean 0, variance 1, fixed by a seed.
///
/// The number at place i depends on nothing but `seed` and `i`:
/// `z = Φ⁻¹((mix(seed + (i + 1) · 0x9E3779B97F4A7C15) >> 11 + ½) · 2⁻⁵³)`, where `mix` is SplitMix64's
/// finaliser and Φ⁻¹ the approximation PPND7 (relative error 1e-7). Only additions,
/// multiplications, divisions, square roots and a software logarithm take part, so every platform
/// gives the same bits. This sequence is part of what a seed promises: changing it changes files.
///
/// # Source
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
/// Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
/// Statistics 37, 1988.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gaussian {
    seed: u64,
}

impl Gaussian {
    /// Returns the sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Computes the number at a place.
    #[must_use]
    pub fn at(self, place: u64) -> f32 {
        let bits = random_bits(self.seed, place);
        // The half keeps 0 and 1 out, where Φ⁻¹ is infinite.
        quantile(((bits >> 11) as f64 + 0.5) * TO_UNIT)
    }

    /// Makes a matrix whose value at `(r, c)` is the number at place `r · cols + c`.
    #[must_use]
    pub fn matrix(self, rows: usize, cols: usize) -> Matrix {
        let mut matrix = Matrix::zeros(rows, cols);
        matrix.values_mut().par_chunks_mut(PIECE).enumerate().for_each(|(piece, values)| {
            for (offset, value) in values.iter_mut().enumerate() {
                *value = self.at((piece * PIECE + offset) as u64);
            }
        });
        matrix
    }
}

/// 2⁶⁴ over the golden ratio, as SplitMix64 has it.
const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;
/// A step of 53 bits, which an f64 holds exactly.
const TO_UNIT: f64 = 1.0 / (1_u64 << 53) as f64;

/// Computes SplitMix64's number at a place of a seed's sequence: 64 uniformly distributed bits.
#[must_use]
pub fn random_bits(seed: u64, place: u64) -> u64 {
    mix(seed.wrapping_add(place.wrapping_add(1).wrapping_mul(INCREMENT)))
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Computes Φ⁻¹ by PPND7. `probability` lies in (0, 1).
fn quantile(probability: f64) -> f32 {
    let centred = probability - 0.5;
    // Three rational approximations, for the centre, the tails and the far tails, with the constants of AS 241.
    if centred.abs() <= 0.425 {
        let r = 0.180_625 - centred * centred;
        let top =
            ((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9;
        let bottom = ((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0;
        return (centred * top / bottom) as f32;
    }
    let tail = if centred < 0.0 { probability } else { 1.0 - probability };
    let r = (-libm::log(tail)).sqrt();
    let size = if r <= 5.0 {
        let r = r - 1.6;
        let top =
            ((0.170_238_211_03 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r + 1.423_437_277_7;
        top / ((0.120_211_329_75 * r + 0.737_001_642_50) * r + 1.0)
    } else {
        let r = r - 5.0;
        let top = ((0.017_337_203_997 * r + 0.428_682_943_37) * r + 3.081_226_386_0) * r
            + 6.657_905_115_0;
        top / ((0.012_258_202_635 * r + 0.241_978_942_25) * r + 1.0)
    };
    (if centred < 0.0 { -size } else { size }) as f32
}

#[cfg(test)]
mod tests {
    use super::{Gaussian, quantile};

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        // Percentage points from tables.
        let known = [
            (0.5, 0.0),
            (0.841_344_746_068_542_9, 1.0),
            (0.975, 1.959_963_984_540_054),
            (0.999, 3.090_232_306_167_814),
            (1e-5, -4.264_890_793_922_602),
            (1e-12, -7.034_483_825_301_131),
            (1e-16, -8.222_082_216_130_435),
        ];
        for (probability, expected) in known {
            let found = f64::from(quantile(probability));
            assert!((found - expected).abs() <= 3e-7 * expected.abs().max(1.0), "{probability}");
        }
    }

    #[test]
    fn moments_are_those_of_the_normal_distribution() {
        let values = Gaussian::new(7).matrix(1000, 1000).into_values();
        let moment = |power: i32| {
            values.iter().map(|&value| f64::from(value).powi(power)).sum::<f64>() / 1e6
        };
        // Five standard errors of each.
        assert!(moment(1).abs() < 5e-3);
        assert!((moment(2) - 1.0).abs() < 8e-3);
        assert!(moment(3).abs() < 2e-2);
        assert!((moment(4) - 3.0).abs() < 5e-2);
    }

    #[test]
    fn the_sequence_stays_what_it_is() {
        let first: Vec<u32> = (0..4).map(|place| Gaussian::new(0).at(place).to_bits()).collect();
        assert_eq!(first, FIRST_OF_SEED_0);
    }

    const FIRST_OF_SEED_0: [u32; 4] = [1_066_961_323, 3_190_857_726, 3_220_688_613, 1_072_851_935];
}
