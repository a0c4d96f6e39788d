//! Answers of consumers.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whether a consumer opens a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opens {
    /// It does.
    Yes {
        /// The program, with the first version that does.
        program: String,
    },
    /// It would fail, or read codes as if they were weights.
    No {
        /// The reason.
        reason: String,
        /// Advice.
        way_out: String,
    },
    /// It is not known.
    NotKnown {
        /// What is known.
        reason: String,
    },
}

/// Whether a consumer reads codes of some subject, whatever their scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TakesCodes {
    Yes,
    No { reason: String, way_out: String },
    NotKnown { reason: String },
}

impl Opens {
    /// Returns the program that opens the file, with its first version.
    pub fn program(&self) -> Option<&str> {
        match self {
            Opens::Yes { program } => Some(program),
            Opens::No { .. } | Opens::NotKnown { .. } => None,
        }
    }
}

/// One JSON shape for all answers, so that readers need no case distinction.
#[derive(Default, Serialize, Deserialize)]
struct Answer {
    opens: String,
    program: Option<String>,
    reason: Option<String>,
    way_out: Option<String>,
}

impl Serialize for Opens {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let answer = |opens: &str| Answer { opens: opens.to_owned(), ..Answer::default() };
        match self.clone() {
            Opens::Yes { program } => Answer { program: Some(program), ..answer("yes") },
            Opens::No { reason, way_out } => {
                Answer { reason: Some(reason), way_out: Some(way_out), ..answer("no") }
            }
            Opens::NotKnown { reason } => Answer { reason: Some(reason), ..answer("not-known") },
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for Opens {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Answer { opens, program, reason, way_out } = Answer::deserialize(from)?;
        let missing = || D::Error::custom(format!("the answer `{opens}` is not whole"));
        match opens.as_str() {
            "yes" => Ok(Opens::Yes { program: program.ok_or_else(missing)? }),
            "no" => Ok(Opens::No {
                reason: reason.ok_or_else(missing)?,
                way_out: way_out.ok_or_else(missing)?,
            }),
            "not-known" => Ok(Opens::NotKnown { reason: reason.ok_or_else(missing)? }),
            _ => Err(D::Error::custom(format!("unknown answer `{opens}`"))),
        }
    }
}

/// A clause for people: `opened by ComfyUI 0.3.68 or newer`.
impl fmt::Display for Opens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opens::Yes { program } => write!(f, "opened by {program}"),
            Opens::No { reason, way_out } => write!(f, "not to be opened: {reason}; {way_out}"),
            Opens::NotKnown { reason } => {
                write!(f, "no program is known to open it; {reason}")
            }
        }
    }
}
