use crate::model::condition::Condition;
use crate::model::dialect::Dialect;
use crate::model::kind::FileKind;
use crate::model::shapes::Shapes;

/// One row of the detection table; rows are tried in rising `order`, and the first hit wins.
#[derive(Debug)]
pub struct Architecture {
    /// Short name, unique among all presets.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// Place in the table, unique among all presets.
    pub order: u32,
    /// The kind of such a file, where the preset's role does not tell it.
    pub kind: Option<FileKind>,
    /// Whose names its tensors have, where these are not the model's own.
    pub dialect: Option<Dialect>,
    /// Why its readers take no codes of it, if so.
    pub no_codes: Option<String>,
    /// Whether ComfyUI has a loader for it.
    pub is_known_to_comfyui: bool,
    /// Whether ComfyUI reads codes of its banks of experts.
    pub has_coded_banks: bool,
    pub(crate) when: Vec<Condition>,
    pub(crate) unless: Vec<Condition>,
}

impl Architecture {
    /// Returns the conditions that a file must meet.
    ///
    /// `KEY` is a tensor of this name, `KEY*` one whose name starts so, `KEY[d] = n` one whose
    /// dimension `d` is `n`, `KEY[d] != n` one whose dimension `d` is another, of a real model,
    /// `A | B` one of these.
    pub fn conditions(&self) -> Vec<String> {
        self.when.iter().map(ToString::to_string).collect()
    }

    /// Returns the conditions that a file must not meet, in the notation of
    /// [`conditions`](Self::conditions).
    pub fn exceptions(&self) -> Vec<String> {
        self.unless.iter().map(ToString::to_string).collect()
    }

    /// Returns the tensors that decided, or nothing when the file is something else.
    pub(super) fn evidence(&self, shapes: &Shapes<'_>, prefix: &str) -> Option<Vec<String>> {
        if self.unless.iter().any(|condition| condition.evidence(shapes, prefix).is_some()) {
            return None;
        }
        self.when.iter().map(|condition| condition.evidence(shapes, prefix)).collect()
    }
}
