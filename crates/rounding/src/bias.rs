use roundwise_compute::Gaussian;
use roundwise_scheme::QuantizedMatrix;

use crate::Linear;

/// The correction of a layer's bias after its weight was rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BiasCorrection {
    /// Nothing.
    #[default]
    None,
    /// The mean error of the outputs for real inputs: `b' = b + (W − Ŵ)μ`, μ their mean.
    Inputs,
    /// The mean error of the outputs for random normal inputs, as published; for comparison.
    ///
    /// The inputs have mean 0, so this is noise of the sample alone: on average it makes a layer
    /// slightly worse, whatever the sign.
    Synthetic {
        /// Random input rows, at least 1.
        rows: usize,
        /// Which way.
        sign: BiasSign,
    },
}

/// Sign of a bias correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiasSign {
    /// `b' = b + mean(X (W − Ŵ)ᵀ)`, so that the mean outputs over these rows stay what they were.
    Plus,
    /// `b' = b − mean(X (W − Ŵ)ᵀ)`, as published. It doubles the difference it is to remove.
    Minus,
}

impl BiasCorrection {
    /// The names of [`named`](Self::named).
    pub const NAMES: [&str; 4] = ["none", "inputs", "synthetic-plus", "synthetic-minus"];

    /// Returns the correction of this name, over `rows` random rows where it is synthetic.
    #[must_use]
    pub fn named(name: &str, rows: usize) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "inputs" => Some(Self::Inputs),
            "synthetic-plus" => Some(Self::Synthetic { rows, sign: BiasSign::Plus }),
            "synthetic-minus" => Some(Self::Synthetic { rows, sign: BiasSign::Minus }),
            _ => None,
        }
    }

    /// Returns the vector `[m]` to add to the bias of a layer; `None` for no change.
    ///
    /// `±(W − Ŵ) x̄`, x̄ `[n]` the mean of the inputs, real or random. That of random rows is
    /// distributed as the mean of `X (W − Ŵ)ᵀ`, from one pass over the weight. Sums in `f64`.
    ///
    /// # Panics
    /// When weight, codes and inputs differ in shape.
    #[must_use]
    pub fn change_of_bias(
        self,
        layer: Linear<'_>,
        quantized: &QuantizedMatrix,
        seed: u64,
    ) -> Option<Vec<f32>> {
        let weight = layer.weight;
        let cols = weight.cols();
        assert_eq!(quantized.shape(), [weight.rows(), cols], "shapes of a weight and its codes");
        let (inputs, factor) = match self {
            Self::None => return None,
            Self::Inputs => {
                let mean = layer.inputs?.mean();
                assert_eq!(mean.len(), cols, "inputs of a layer");
                (mean.iter().map(|mean| f64::from(*mean)).collect(), 1.0)
            }
            Self::Synthetic { rows, sign: BiasSign::Plus } => (mean_inputs(rows, cols, seed), 1.0),
            Self::Synthetic { rows, sign: BiasSign::Minus } => {
                (mean_inputs(rows, cols, seed), -1.0)
            }
        };
        // Row by row, so that neither Ŵ nor W − Ŵ ever exists as a whole.
        let (mut original, mut decoded) = (vec![0.0; cols], vec![0.0; cols]);
        let correction = (0..weight.rows()).map(|row| {
            weight.widen_row(row, &mut original);
            quantized.decode_row(row, &mut decoded);
            let lost = original.iter().zip(&decoded).map(|(w, q)| f64::from(*w) - f64::from(*q));
            let output: f64 = lost.zip(&inputs).map(|(lost, input)| lost * input).sum();
            (factor * output) as f32
        });
        Some(correction.collect())
    }
}

/// Returns the mean of each of `cols` inputs over `rows` random normal rows. The mean is itself
/// normal, with a variance `rows` times smaller, so it is drawn at once.
fn mean_inputs(rows: usize, cols: usize, seed: u64) -> Vec<f64> {
    let inputs = Gaussian::new(seed);
    let deviation = (rows.max(1) as f64).sqrt().recip();
    (0..cols).map(|col| deviation * f64::from(inputs.at(col as u64))).collect()
}
