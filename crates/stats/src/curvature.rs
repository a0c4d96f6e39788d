use crate::{LayerStatistics, StatsErrorKind as Kind};

/// The second moment of the inputs of a value projection *as attention mixes them*:
/// `H_mix = 1/N Σ_heads Σ_queries z zᵀ`, `z = Σ_t A[head, query, t] x_t`, A the attention
/// probabilities. tr(E H_mix Eᵀ) is the squared error behind the attention, where that of a single
/// token's output is not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct MixedInputs {
    /// Count of queries, diagonal and what else is known of H_mix. It is about zero: a mean is a mere
    /// placeholder of zeros.
    pub moment: LayerStatistics,
    /// Rows of the weight `[first, end)` that H_mix is of: those of the values, where a weight joins
    /// queries, keys and values. Empty stands for all.
    pub rows: Vec<[u64; 2]>,
}

/// Gradients g of a model's loss at the outputs of one layer. The loss is a sum over predictions, each
/// with a label drawn from the model itself, so that half of the squared gradients is the divergence
/// that an error of the outputs causes (Fisher information).
#[derive(Clone, Debug, PartialEq)]
pub struct OutputGradient {
    /// Predictions that the loss was a sum over.
    pub count: u64,
    /// `ḡ = Σ ‖g‖² / (m · predictions)`: ½ · ḡ · tr(E H Eᵀ) is the loss that the error E of a weight
    /// causes, in nats per prediction.
    pub mean_square: f32,
    /// `H_w = Σ ‖g‖² x xᵀ / predictions`: ½ · tr(E H_w Eᵀ) / m is the same, with inputs that matter
    /// more counted more.
    pub weighted: Option<LayerStatistics>,
    /// `G = Σ g gᵀ / predictions`, `[m, m]`.
    pub outputs: Option<LayerStatistics>,
}

impl MixedInputs {
    /// Checks the rows.
    ///
    /// # Errors
    /// When they are not ascending ranges that do not overlap, within `rows` where these are known.
    pub fn new(moment: LayerStatistics, ranges: Vec<[u64; 2]>, rows: u64) -> Result<Self, Kind> {
        // Rows that are not known bound nothing.
        let most = if rows == 0 { u64::MAX } else { rows };
        let mut last = 0;
        for &[first, end] in &ranges {
            if first < last || end <= first || end > most {
                return Err(Kind::MixedRows { first, end, rows });
            }
            last = end;
        }
        Ok(Self { moment, rows: ranges })
    }

    /// Computes what one run over both sets of inputs would have given.
    ///
    /// # Errors
    /// When they are of other rows, and as [`LayerStatistics::merged`].
    pub fn merged(&self, other: &Self) -> Result<Self, Kind> {
        if self.rows != other.rows {
            return Err(Kind::OtherMixedRows);
        }
        Ok(Self { moment: self.moment.merged(&other.moment)?, rows: self.rows.clone() })
    }
}

impl OutputGradient {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When the count is 0, or ḡ is not finite or negative.
    pub fn new(
        count: u64,
        mean_square: f32,
        weighted: Option<LayerStatistics>,
        outputs: Option<LayerStatistics>,
    ) -> Result<Self, Kind> {
        // A side-car stores counts as I64.
        if count == 0 || i64::try_from(count).is_err() {
            return Err(Kind::Count { found: i128::from(count) });
        }
        let part = "gradient_mean_square";
        if !mean_square.is_finite() {
            return Err(Kind::NotFinite { part, index: 0, found: mean_square });
        }
        if mean_square < 0.0 {
            return Err(Kind::Negative { part, column: 0, found: mean_square });
        }
        Ok(Self { count, mean_square, weighted, outputs })
    }

    /// Computes what one run over both sets of predictions would have given. What only one of them
    /// knows is dropped.
    ///
    /// # Errors
    /// As [`LayerStatistics::merged`].
    pub fn merged(&self, other: &Self) -> Result<Self, Kind> {
        let (a, b) = (self.count as f64, other.count as f64);
        // Every mean is over predictions, and is weighed with them.
        let sum = a * f64::from(self.mean_square) + b * f64::from(other.mean_square);
        let both = |a: &Option<LayerStatistics>, b: &Option<LayerStatistics>| {
            a.as_ref().zip(b.as_ref()).map(|(a, b)| a.merged(b)).transpose()
        };
        let count = self.count.checked_add(other.count);
        let count = count.ok_or(Kind::TooManySamples { a: self.count, b: other.count })?;
        let weighted = both(&self.weighted, &other.weighted)?;
        let outputs = both(&self.outputs, &other.outputs)?;
        Self::new(count, (sum / (a + b)) as f32, weighted, outputs)
    }
}

/// The predictions that gradients are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curvature {
    /// Tokens of a language model: losses are nats per token.
    Tokens,
    /// Outputs of any model, as means of unit Gaussians: losses are half the squared error of an output
    /// element.
    Gaussian,
}

impl Curvature {
    const ALL: [Self; 2] = [Self::Tokens, Self::Gaussian];

    /// Returns the predictions of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Returns the name in a side-car's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Gaussian => "gaussian",
        }
    }
}
