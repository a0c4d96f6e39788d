use std::ops::Range;

use roundwise_scheme::Weight;

use crate::{Inputs, OutputMoment, SearchCache};

/// A layer `y = W x`, or `W x + b`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// W, `[m, n]`; of a convolution `[out, in · height · width]`.
    pub weight: &'a Weight<'a>,
    /// Statistics of x, or of x about its mean where the bias takes up the mean error.
    pub inputs: Option<&'a Inputs>,
    /// Statistics that count for some rows in place of these.
    pub(crate) row_inputs: &'a [RowInputs],
    /// How errors in its outputs add up, for feedback between rows.
    pub(crate) outputs: Option<&'a OutputMoment>,
    /// Results of earlier searches of this very layer.
    pub(crate) cache: Option<&'a SearchCache>,
}

/// Statistics of the inputs of some rows of a weight, such as those of the values where queries, keys and
/// values are joined: what counts there are the inputs as attention mixes them.
#[derive(Clone, Debug, PartialEq)]
pub struct RowInputs {
    /// The rows.
    pub rows: Range<usize>,
    /// Statistics of their inputs.
    pub inputs: Inputs,
}

impl<'a> Linear<'a> {
    /// Adds what is known of the layer's inputs.
    #[must_use]
    pub fn with_inputs(self, inputs: Option<&'a Inputs>) -> Self {
        Self { inputs, ..self }
    }

    /// Adds what is known of the inputs of some rows.
    ///
    /// - `row_inputs`: ascending rows that do not overlap; where they cut through the blocks of a scheme,
    ///   the statistics of all rows count for them as well
    #[must_use]
    pub fn with_row_inputs(self, row_inputs: &'a [RowInputs]) -> Self {
        Self { row_inputs, ..self }
    }

    /// Adds what is known of the gradients at the layer's outputs, which [`Sides::Both`](crate::Sides)
    /// looks at.
    #[must_use]
    pub fn with_outputs(self, outputs: Option<&'a OutputMoment>) -> Self {
        Self { outputs, ..self }
    }

    /// Shares singular vectors, or the factor of H, with other searches of this layer.
    ///
    /// Searches for codes of several schemes then compute them once. Codes are those of searches that
    /// share nothing.
    ///
    /// - `cache`: that of this weight and its inputs, as they are or about their mean
    #[must_use]
    pub fn with_cache(self, cache: &'a SearchCache) -> Self {
        Self { cache: Some(cache), ..self }
    }
}

impl<'a> From<&'a Weight<'a>> for Linear<'a> {
    fn from(weight: &'a Weight<'a>) -> Self {
        Self { weight, inputs: None, row_inputs: &[], outputs: None, cache: None }
    }
}
