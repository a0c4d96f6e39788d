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

    /// Decimal exponents `[−low, high]` of the factors.
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

    /// The scale that a code stands for.
    #[must_use]
    pub fn decode(self, code: u8) -> f32 {
        let exponent = self.low() + f64::from(code) / STEPS * self.width();
        10f64.powf(-exponent) as f32
    }

    /// The code whose scale is nearest in ratio; the last one for what lies beyond.
    ///
    /// - `scale`: above 0
    #[must_use]
    pub fn encode(self, scale: f32) -> u8 {
        let share = (-f64::from(scale).log10() - self.low()) / self.width();
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
