//! Programs that open the outputs, each with its own table of files that it opens.

mod comfyui;

use std::fmt;

use roundwise_layout::{Layout, client};
use roundwise_scheme::Scheme;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::source::subject::Subject;

/// A program that opens files of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consumer {
    /// ComfyUI as it is shipped.
    ComfyUi,
    /// ComfyUI with the custom node ComfyUI-QuantOps.
    ComfyUiQuantOps,
}

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

/// Whether any consumer opens weights of one scheme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemeConsumer {
    /// The scheme.
    #[serde(serialize_with = "by_name", deserialize_with = "read_scheme")]
    pub scheme: Scheme,
    /// The answer.
    #[serde(flatten)]
    pub answer: Opens,
}

fn by_name<S: Serializer>(scheme: &Scheme, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(scheme)
}

fn read_scheme<'de, D: Deserializer<'de>>(from: D) -> Result<Scheme, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// Whether a consumer reads codes of some subject, whatever their scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TakesCodes {
    Yes,
    No { reason: String, way_out: String },
    NotKnown { reason: String },
}

impl Consumer {
    /// Every consumer, in the order in which they are asked.
    pub const ALL: [Self; 2] = [Self::ComfyUi, Self::ComfyUiQuantOps];

    /// Returns the consumer that a layout is for.
    pub(crate) fn of(layout: Layout) -> Self {
        match layout {
            Layout::Comfy | Layout::ComfyLegacy => Self::ComfyUi,
        }
    }

    /// Returns whether it opens `subject` with weights in `scheme`.
    pub fn opens(self, subject: &Subject, scheme: Scheme, layout: Layout) -> Opens {
        let client = client(layout, scheme);
        let program = client.name.to_owned();
        if !scheme.has_scales() {
            return Opens::Yes { program };
        }
        match self.takes_codes(subject) {
            TakesCodes::No { reason, way_out } => return Opens::No { reason, way_out },
            TakesCodes::NotKnown { reason } => return Opens::NotKnown { reason },
            TakesCodes::Yes => {}
        }
        // The table of schemes names no program in these words.
        if let Some(nobody) = program.strip_prefix("no program ") {
            let (_, known) = nobody.split_once("; ").unwrap_or_default();
            return Opens::NotKnown { reason: known.to_owned() };
        }
        match self {
            Self::ComfyUi if !client.is_stock_comfyui => Opens::No {
                reason: format!("ComfyUI has no path for `{scheme}` by itself"),
                way_out: format!("{program} opens it"),
            },
            Self::ComfyUi | Self::ComfyUiQuantOps => Opens::Yes { program },
        }
    }

    /// Returns whether it reads codes of `subject`.
    pub(crate) fn takes_codes(self, subject: &Subject) -> TakesCodes {
        match self {
            // The node adds schemes, no kinds of files.
            Self::ComfyUi | Self::ComfyUiQuantOps => comfyui::takes_codes(&subject.detected),
        }
    }
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
