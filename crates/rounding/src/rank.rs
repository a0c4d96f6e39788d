use crate::Objective;

/// How many singular vectors: `clamp(⌊share · min(m, n)⌋, least, most)`, at most `min(m, n)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// Share of the smaller side, 0 to 1. Default 0.2.
    pub share: f64,
    /// Default 1.
    pub least: usize,
    /// Default 1280.
    pub most: usize,
}

impl Default for Rank {
    fn default() -> Self {
        Self { share: 0.2, least: 1, most: 1280 }
    }
}

impl Rank {
    /// Returns a rank of exactly `rank`, as far as the matrix has as many.
    #[must_use]
    pub fn exactly(rank: usize) -> Self {
        Self { share: 0.0, least: rank, most: rank }
    }

    /// Returns the rank for a `[rows, cols]` matrix.
    #[must_use]
    pub fn for_shape(self, rows: usize, cols: usize) -> usize {
        let smaller = rows.min(cols);
        // Rounded down, as convert_to_quant does, so that ranks are the same.
        let asked = (self.share * smaller as f64) as usize;
        // The least wins over the most, so that asking for more than the default most has an effect;
        // the matrix limits both.
        asked.min(self.most).max(self.least).min(smaller)
    }

    /// Returns whether the share has no say.
    pub(crate) fn is_exact(self) -> bool {
        self.least >= self.most
    }

    /// Returns the rank of an objective that has singular vectors.
    pub(crate) fn in_objective(objective: &mut Objective) -> Option<&mut Self> {
        match objective {
            Objective::Principal(rank) | Objective::PrincipalInput(rank) => Some(rank),
            Objective::None
            | Objective::Weight
            | Objective::Sampled { .. }
            | Objective::Activations { .. } => None,
        }
    }
}
