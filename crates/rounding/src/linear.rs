use roundwise_scheme::Weight;

use crate::{Inputs, SearchCache};

/// A layer `y = W x`, or `W x + b`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// W, `[m, n]`; of a convolution `[out, in · height · width]`.
    pub weight: &'a Weight<'a>,
    /// Statistics of x, or of x about its mean where the bias takes up the mean error.
    pub inputs: Option<&'a Inputs>,
    /// Results of earlier searches of this very layer.
    pub(crate) cache: Option<&'a SearchCache>,
}

impl<'a> Linear<'a> {
    /// Adds what is known of the layer's inputs.
    #[must_use]
    pub fn with_inputs(self, inputs: Option<&'a Inputs>) -> Self {
        Self { inputs, ..self }
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
        Self { weight, inputs: None, cache: None }
    }
}
