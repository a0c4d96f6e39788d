use std::fmt;

use roundwise_scheme::is_meant;

use crate::SettingRange;

/// Why a method cannot do what was asked of it: all complaints, not only the first.
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

/// One thing that is wrong with a setting.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct Complaint {
    /// A field of [`MethodOptions`](crate::MethodOptions), or `method`.
    pub setting: &'static str,
    /// The problem.
    pub problem: Problem,
}

/// A problem with a setting of a method.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// An unknown name.
    #[error("`{found}` is not known{}\n  known: {}", is_meant(found, known.iter().copied()), known.join(", "))]
    UnknownName {
        /// The name.
        found: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A number outside its range.
    #[error("{found} is out of range, expected {expected}{}", in_brackets(*unit))]
    OutOfRange {
        /// The number.
        found: f64,
        /// The range.
        expected: SettingRange,
        /// The unit that the number counts in, or the quantity it is relative to.
        unit: Option<&'static str>,
    },
    /// A number that is smaller than that of another setting, which may not be larger.
    #[error("{found} is less than `{other}`")]
    LessThan {
        /// The number.
        found: usize,
        /// The other setting.
        other: &'static str,
    },
    /// A setting that would change nothing.
    #[error("does not apply to method `{method}`: {why}")]
    DoesNotApply {
        /// The method.
        method: &'static str,
        /// Why not.
        why: WhyNot,
    },
    /// Two settings that contradict each other.
    #[error("does not go together with `{other}`")]
    Excludes {
        /// The other setting.
        other: &'static str,
    },
}

/// Why a setting would change nothing of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyNot {
    /// Stochastic rounding has no objective.
    #[error("it minimises nothing")]
    NoObjective,
    /// The weight error is smallest for nearest codes.
    #[error("nearest codes are the minimum already")]
    NearestIsBest,
    /// The solver named cannot work towards the method's objective.
    #[error("its objective is nothing that solver `{0}` can work towards")]
    Solver(&'static str),
    /// The solver takes no steps along gradients.
    #[error("its solver `{0}` takes no steps along gradients")]
    NoGradient(&'static str),
    /// The solver ends by itself.
    #[error("its solver `{0}` does not count iterations")]
    NoIterations(&'static str),
    /// The solver chooses codes outright.
    #[error("its solver `{0}` makes no soft choices")]
    NoSoftChoice(&'static str),
    /// The solver rounds row by row.
    #[error("its solver `{0}` does not couple rows")]
    NoCoupledRows(&'static str),
    /// The objective has no singular vectors.
    #[error("it has no singular vectors")]
    NoSingularVectors,
    /// The objective takes a number of singular vectors that no share decides.
    #[error("it takes exactly `top_k` singular vectors")]
    ExactRank,
    /// Neither objective nor bias correction draws random rows.
    #[error("it draws no random rows")]
    NoRandomRows,
    /// Another solver than AdaRound, or another objective than random rows.
    #[error("only AdaRound multiplies random rows in batches")]
    NoBatches,
    /// Nothing in it depends on effort.
    #[error("it neither looks for singular vectors nor chooses its passes")]
    NoEffort,
    /// The objective is not about real inputs.
    #[error("it does not look at real inputs")]
    NoRealInputs,
}

fn in_brackets(unit: Option<&str>) -> String {
    unit.map_or_else(String::new, |unit| format!(" ({unit})"))
}
