use crate::Rank;

/// The objective to minimise, beside the weight error that [`Limit`](crate::Limit) bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// Nothing: there is nothing that codes could be worse in, so whatever the solver chose is
    /// stored. For stochastic rounding alone.
    None,
    /// `‖E‖²`: nearest codes are its minimum.
    Weight,
    /// `‖UᵀEV‖²`, U and V the leading singular vectors of W: what TPEC-Quant and convert_to_quant
    /// minimise.
    Principal(Rank),
    /// `‖EV‖²`: the one-sided form.
    PrincipalInput(Rank),
    /// `‖EX‖² / samples`, X normally distributed inputs `[n, samples]`. Its expectation is `‖E‖²`,
    /// so what beats nearest codes here fits the sample.
    Sampled {
        /// Columns of X, at least 1.
        samples: usize,
    },
    /// `tr(EHEᵀ)`, H the second moment of the layer's real [`Inputs`](crate::Inputs): the mean
    /// squared error of its outputs.
    Activations {
        /// Share of the mean of H's diagonal that solvers add to it, from 0 on; scores are without
        /// it. `None` for 5 over the samples per column, at least 0.01 and at most 0.1.
        damping: Option<f64>,
    },
}

impl Default for Objective {
    fn default() -> Self {
        Self::Principal(Rank::default())
    }
}

impl Objective {
    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Weight => "weight",
            Self::Principal(_) => "principal",
            Self::PrincipalInput(_) => "principal-input",
            Self::Sampled { .. } => "sampled",
            Self::Activations { .. } => "activations",
        }
    }
}
