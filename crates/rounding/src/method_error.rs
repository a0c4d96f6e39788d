use std::fmt;

/// Why a method cannot do what was asked of it: everything that is wrong, not only the first.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct MethodError {
    /// Name of the method, as asked for.
    pub method: String,
    /// At least one.
    pub complaints: Vec<Complaint>,
}

impl fmt::Display for MethodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, complaint) in self.complaints.iter().enumerate() {
            let line_break = if index > 0 { "\n" } else { "" };
            write!(f, "{line_break}{complaint}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong. `option` is a field of [`MethodOptions`](crate::MethodOptions), or
/// `method`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Complaint {
    /// A name that nothing has.
    #[error("{option} `{found}` is not known; known: {}", known.join(", "))]
    UnknownName {
        /// What it was to name.
        option: &'static str,
        /// The name.
        found: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A number outside its range.
    #[error("`{option}` is {found}; it has to be {expected}")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// The number.
        found: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// An option that would change nothing.
    #[error("`{option}` does not apply to method `{method}`: {why}")]
    DoesNotApply {
        /// The option.
        option: &'static str,
        /// The method.
        method: &'static str,
        /// Why not, in words.
        why: String,
    },
    /// Two options that say different things about one.
    #[error("`{option}` and `{other}` exclude each other")]
    Excludes {
        /// One.
        option: &'static str,
        /// The other.
        other: &'static str,
    },
}
