use std::ops::RangeInclusive;

use roundwise_grid::GridKind;

use super::absmax::{absmax_scale, map_maxima};
use super::{ScaleNumbers, ScalePart, ScaleRole, ScaleStorage, Storage, StoredScales};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::tiling::Tiling;

/// One byte for the tensor, the logarithm of its scale: the one nearest to `max |W| / MAX`. Weights
/// that lie beyond `MAX` after that saturate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Logarithmic {
    /// Scales that the byte can stand for.
    pub(crate) range: LogRange,
    /// Whether layers of one module have the same byte. Readers tell by the shape: `[1]`, else
    /// `[]`.
    pub(crate) is_shared: bool,
}

/// Codes that a search tries below and above the absmax one: three are a factor of 1.6 in the wide
/// range, 1.4 in the narrow one.
const LOG_STEPS: RangeInclusive<i32> = -3..=3;

impl Storage for Logarithmic {
    fn tiling(&self) -> Tiling {
        Tiling::Tensor
    }

    fn name(&self, _grid: GridKind) -> String {
        let range = match self.range {
            LogRange::Wide => "",
            LogRange::Narrow => "-narrow",
        };
        format!("fp8-log-scales{range}{}", if self.is_shared { "-shared" } else { "" })
    }

    fn summary(&self) -> String {
        let [low, high] = self.range.exponents();
        let owner = if self.is_shared { "module" } else { "tensor" };
        format!("one byte per {owner}, the logarithm of a scale from 10^-{high} to 10^{low}")
    }

    fn transposed(&self, _shape: [usize; 2]) -> Option<ScaleStorage> {
        Some(ScaleStorage::Logarithmic(*self))
    }

    fn scale_tiles(&self, grid: GridKind, maxima: &mut [f32]) {
        let largest_code = grid.max();
        // Through the byte and back: codes are chosen for the scale that readers compute.
        let stored = |scale| self.range.decode(self.range.encode(scale));
        map_maxima(maxima, |maximum| stored(absmax_scale(maximum, largest_code)));
    }

    fn candidate_count(&self, _grid: GridKind) -> usize {
        match self.is_shared {
            // A layer cannot change a scale that others have, too.
            true => 0,
            false => LOG_STEPS.count(),
        }
    }

    fn candidates(&self, scale: f32, _tensor: f32, candidates: &mut [f32]) {
        // Candidates are neighbouring bytes, not multiples of the scale: only what the byte can say is worth
        // scoring.
        let code = i32::from(self.range.encode(scale));
        for (candidate, step) in candidates.iter_mut().zip(LOG_STEPS) {
            *candidate = self.range.decode((code + step).clamp(0, 255) as u8);
        }
    }

    fn parts(&self, _shape: [usize; 2]) -> Vec<ScalePart> {
        let shape: &[usize] = if self.is_shared { &[1] } else { &[] };
        vec![ScalePart::new(ScaleRole::Tiles, ScaleNumbers::Logarithm, shape)]
    }

    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        vec![matrix.scales().iter().map(|scale| self.range.encode(*scale)).collect()]
    }

    fn read(
        &self,
        _shape: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        let bytes = scales.get(&ScaleRole::Tiles).map_or(&[][..], Vec::as_slice);
        let scales: Vec<f32> = bytes.iter().map(|byte| self.range.decode(*byte)).collect();
        Ok(StoredMatrix { codes, scales: scales.into(), levels: None })
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn needs_whole_matrix(&self) -> bool {
        self.is_shared
    }

    fn log_range(&self) -> Option<LogRange> {
        Some(self.range)
    }
}

/// The logarithmic scales that a byte can stand for: `10^-(low + code · (high − low) / 255)`.
///
/// The published scripts take the byte for the factor that weights were multiplied by before they
/// were rounded; this is its inverse, so that decoding multiplies as everywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogRange {
    /// Factors from 10⁻¹² to 10⁶, 1.18 times each other; code 170 is 1.
    Wide,
    /// Factors from 10⁻¹⁰ to 10², 1.11 times each other. Weights below 4.48 do not use the whole
    /// grid.
    Narrow,
}

/// Steps between the codes 0 and 255.
const STEPS: f64 = 255.0;

impl LogRange {
    /// Both ranges.
    pub const ALL: [LogRange; 2] = [LogRange::Wide, LogRange::Narrow];

    /// Returns the decimal exponents `[−low, high]` of the factors.
    #[must_use]
    pub const fn exponents(self) -> [u8; 2] {
        match self {
            LogRange::Wide => [12, 6],
            LogRange::Narrow => [10, 2],
        }
    }

    fn low(self) -> f64 {
        -f64::from(self.exponents()[0])
    }

    fn width(self) -> f64 {
        f64::from(self.exponents()[1]) - self.low()
    }

    /// Returns the scale that a code stands for.
    #[must_use]
    pub fn decode(self, code: u8) -> f32 {
        let exponent = self.low() + f64::from(code) / STEPS * self.width();
        // In F64 and narrowed once: the last bits of a power differ between maths libraries, and are
        // hardly ever left in an F32.
        10f64.powf(-exponent) as f32
    }

    /// Returns the code whose scale is nearest in ratio; the first or the last one for scales
    /// beyond.
    ///
    /// - `scale`: above 0
    #[must_use]
    pub fn encode(self, scale: f32) -> u8 {
        let share = (-f64::from(scale).log10() - self.low()) / self.width();
        // Ties to even, as torch rounds.
        (share.clamp(0.0, 1.0) * STEPS).round_ties_even() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back() {
        for range in LogRange::ALL {
            for code in 0..=u8::MAX {
                assert_eq!(range.encode(range.decode(code)), code, "{range:?}");
            }
        }
    }

    /// Published: largest magnitude, then code and factor in the narrow and in the wide range.
    #[test]
    fn codes_are_the_published_ones() {
        let cases = [
            (1.1, (255, 100.0), (207, 409.039)),
            (4.48, (255, 100.0), (198, 94.726_3)),
            (10.0, (248, 46.836_91), (193, 42.027_1)),
            (448.0, (212, 0.947_263), (170, 1.0)),
            (1000.0, (205, 0.443_668_7), (165, 0.443_668_7)),
            (0.5, (255, 100.0), (212, 921.946_8)),
        ];
        for (largest, narrow, wide) in cases {
            for (range, (code, factor)) in [(LogRange::Narrow, narrow), (LogRange::Wide, wide)] {
                assert_eq!(range.encode(largest / 448.0), code, "{largest} {range:?}");
                let found = 1.0 / range.decode(code);
                assert!((found / factor - 1.0f32).abs() < 1e-6, "{found} {factor}");
            }
        }
        assert_eq!(LogRange::Wide.decode(170), 1.0);
    }
}
