use roundwise_scheme::Weight;

use crate::{Findings, Inputs};

/// A layer `y = W x`, or `W x + b`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// W, `[m, n]`; of a convolution `[out, in · height · width]`.
    pub weight: &'a Weight<'a>,
    /// What is known of x, or of x about its mean where the bias takes up the mean error.
    pub inputs: Option<&'a Inputs>,
    /// What an earlier search has found in this very layer.
    pub(crate) findings: Option<&'a Findings>,
}

impl<'a> Linear<'a> {
    /// The same layer, and what is known of its inputs.
    #[must_use]
    pub fn with_inputs(self, inputs: Option<&'a Inputs>) -> Self {
        Self { inputs, ..self }
    }

    /// The same layer; searches for codes of several schemes look for its singular vectors, or
    /// factorise its H, only once. Codes are those of searches that share nothing.
    ///
    /// - `findings`: of this weight and its inputs alone, as they are or about their mean
    #[must_use]
    pub fn remembering(self, findings: &'a Findings) -> Self {
        Self { findings: Some(findings), ..self }
    }
}

impl<'a> From<&'a Weight<'a>> for Linear<'a> {
    fn from(weight: &'a Weight<'a>) -> Self {
        Self { weight, inputs: None, findings: None }
    }
}
