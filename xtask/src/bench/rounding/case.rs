use super::Measurement;
use super::trade_off::Scored;
use crate::goal::{Goal, rounding as goals};

/// One matrix, one way to round it, and what is asked of the result.
pub(super) struct Case {
    pub(super) part: Measurement,
    pub(super) shape: [usize; 2],
    pub(super) rank: usize,
    pub(super) scheme: &'static str,
    /// How far ‖E‖ may rise above that of nearest codes.
    pub(super) budget: f64,
    pub(super) effort: &'static str,
    pub(super) goals: &'static [(Measure, Goal)],
}

/// A number of a scored result.
#[derive(Clone, Copy)]
pub(super) enum Measure {
    /// ‖UᵀEV‖ over that of nearest codes.
    Projected,
    /// Its square.
    ProjectedEnergy,
    /// The objective over the bound of one pass.
    OverBound,
    /// The peer's time over ours.
    TimesFaster,
}

impl Measure {
    /// Returns our figure and the peer's; `None` where it cannot be computed.
    pub(super) fn compare(
        self,
        ours: &Scored,
        peer: Option<&Scored>,
    ) -> Option<(f64, Option<f64>)> {
        let both = |of: &dyn Fn(&Scored) -> f64| Some((of(ours), peer.map(of)));
        match self {
            Self::Projected => both(&|scored| scored.projected_ratio),
            Self::ProjectedEnergy => both(&|scored| scored.projected_ratio.powi(2)),
            Self::OverBound => ours.bound_ratio.map(|ratio| (ratio, None)),
            Self::TimesFaster => Some((peer?.seconds / ours.seconds, None)),
        }
    }
}

const fn square(scheme: &'static str, budget: f64, goals: &'static [(Measure, Goal)]) -> Case {
    let (part, shape) = (Measurement::Quality, [1024, 1024]);
    Case { part, shape, rank: 204, scheme, budget, effort: "high", goals }
}

/// Returns a case of a matrix with rows of several sizes.
const fn scaled(budget: f64, goals: &'static [(Measure, Goal)]) -> Case {
    let case = square("fp8", budget, goals);
    Case { part: Measurement::Scaled, ..case }
}

/// Returns a case of a wide matrix whose ‖E‖² may rise by 1 %.
const fn wide(scheme: &'static str, goals: &'static [(Measure, Goal)]) -> Case {
    let (part, shape) = (Measurement::Wide, [3072, 12288]);
    Case { part, shape, rank: 64, scheme, budget: 0.004_987, effort: "normal", goals }
}

const fn timed(effort: &'static str, goals: &'static [(Measure, Goal)]) -> Case {
    let (part, shape) = (Measurement::Time, [3072, 3072]);
    Case { part, shape, rank: 614, scheme: "fp8", budget: 0.03, effort, goals }
}

pub(super) const CASES: [Case; 12] = [
    square("fp8", 0.01, &[(Measure::Projected, goals::FP8_1)]),
    square("fp8", 0.04, &[(Measure::Projected, goals::FP8_4)]),
    square("int8-row", 0.01, &[(Measure::Projected, goals::INT8_ROW_1)]),
    square("int8-row", 0.04, &[(Measure::Projected, goals::INT8_ROW_4)]),
    square("fp8-block-128", 0.04, &[(Measure::Projected, goals::FP8_BLOCK_4)]),
    square("int8-block-128", 0.04, &[(Measure::Projected, goals::INT8_BLOCK_4)]),
    scaled(0.01, &[(Measure::Projected, goals::SCALED_1)]),
    scaled(0.04, &[(Measure::Projected, goals::SCALED_4)]),
    wide(
        "fp8",
        &[
            (Measure::ProjectedEnergy, goals::WIDE_FP8_ENERGY),
            (Measure::OverBound, goals::WIDE_FP8_BOUND),
        ],
    ),
    wide(
        "int8-row",
        &[
            (Measure::ProjectedEnergy, goals::WIDE_INT8_ENERGY),
            (Measure::OverBound, goals::WIDE_INT8_BOUND),
        ],
    ),
    timed(
        "fast",
        &[(Measure::TimesFaster, goals::FAST_SPEED), (Measure::Projected, goals::FAST_ERROR)],
    ),
    timed(
        "normal",
        &[(Measure::TimesFaster, goals::NORMAL_SPEED), (Measure::Projected, goals::NORMAL_ERROR)],
    ),
];
