use regex::Regex;
use roundwise_scheme::Scheme;

/// A rule that has been checked.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Searched for in the layer's name.
    pub pattern: Regex,
    /// Scheme of the layers that it matches.
    pub scheme: Scheme,
}
