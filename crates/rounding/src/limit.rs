/// Limit of the weight error that a search may pay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Any: as the published systems, which do not look at it.
    None,
    /// `‖E‖ ≤ (1 + budget) · ‖E_nearest‖`. 0.04 lets it rise by 4 %.
    WeightErrorBudget(f64),
    /// λ of `objective + λ‖E‖²`, above 0.
    Lambda(f64),
}

impl Default for Limit {
    fn default() -> Self {
        Self::WeightErrorBudget(0.03)
    }
}

impl Limit {
    /// Returns λ of the declared objective.
    pub(crate) fn lambda(self) -> f64 {
        match self {
            Self::None | Self::WeightErrorBudget(_) => 0.0,
            Self::Lambda(lambda) => lambda,
        }
    }

    /// Returns the largest `‖E‖²` over that of nearest codes.
    pub(crate) fn largest_energy_ratio(self) -> f64 {
        match self {
            Self::WeightErrorBudget(budget) => (1.0 + budget) * (1.0 + budget),
            Self::None | Self::Lambda(_) => f64::INFINITY,
        }
    }
}
