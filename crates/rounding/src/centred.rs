use roundwise_grid::{Grid, GridKind};

/// The 16 values that a tile with a zero point can store, moved so that they lie around 0:
/// −7.5, −6.5, … 7.5.
///
/// Where they are moved from is the [middle](crate::cells::Cells) of each tile. Solvers then need to know
/// of no zero points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Centred;

impl Grid for Centred {
    type Code = u8;

    /// Codes are those of INT8 once they are moved back.
    const KIND: GridKind = GridKind::Int8;
    const MAX: f32 = 7.5;

    #[inline(always)]
    fn encode(value: f32) -> u8 {
        (Self::round(value) + Self::MAX) as u8
    }

    #[inline(always)]
    fn encode_bf16(bits: u16) -> u8 {
        Self::encode(f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    fn decode(code: u8) -> f32 {
        let value = f32::from(code) - Self::MAX;
        if value <= Self::MAX { value } else { f32::NAN }
    }

    #[inline(always)]
    fn round(value: f32) -> f32 {
        let value = if value.is_nan() { 0.0 } else { value };
        // Comparisons in this order become two vector instructions.
        let value = if value < Self::MAX { value } else { Self::MAX };
        let value = if value > -Self::MAX { value } else { -Self::MAX };
        (value + 0.5).round_ties_even() - 0.5
    }

    #[inline(always)]
    fn above(value: f32) -> f32 {
        let sum = value + 1.0;
        if sum < Self::MAX { sum } else { Self::MAX }
    }

    #[inline(always)]
    fn below(value: f32) -> f32 {
        let difference = value - 1.0;
        if difference > -Self::MAX { difference } else { -Self::MAX }
    }

    #[inline(always)]
    fn step(_value: f32) -> f32 {
        1.0
    }

    #[inline(always)]
    fn is_finite_code(code: u8) -> bool {
        Self::decode(code).is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_goes_to_the_nearest_of_sixteen() {
        for code in 0..16 {
            let value = Centred::decode(code);
            assert_eq!((Centred::encode(value), Centred::round(value)), (code, value));
            for off in [-0.49, 0.49] {
                assert_eq!(Centred::round(value + off), value);
            }
        }
        assert_eq!([9.0, f32::INFINITY, -7.6].map(Centred::round), [7.5, 7.5, -7.5]);
        assert_eq!((Centred::above(6.5), Centred::above(7.5)), (7.5, 7.5));
        assert_eq!((Centred::below(-6.5), Centred::below(-7.5)), (-7.5, -7.5));
        assert!(!Centred::is_finite_code(16));
    }
}
