use std::fmt;

use serde::Serialize;

use crate::recipe::setting::Setting;
use crate::recipe::text::Text;

/// One thing that is wrong with a recipe, by itself or for a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Complaint {
    /// The setting that it is about; `None` for the text of a file as a whole.
    pub setting: Option<Setting>,
    /// The problem; where there is advice, it is a second line, indented by two. About a file it is a
    /// sentence that names the setting itself.
    pub problem: Text,
}

impl Complaint {
    /// Complains about a setting.
    pub(crate) fn about(setting: impl Into<Setting>, problem: impl Into<Text>) -> Self {
        Self { setting: Some(setting.into()), problem: problem.into() }
    }

    /// Complains about a text as a whole.
    pub(crate) fn of_all(problem: impl Into<Text>) -> Self {
        Self { setting: None, problem: problem.into() }
    }

    /// Returns setting and problem as one message.
    pub fn text(&self) -> Text {
        match &self.setting {
            Some(setting) => Text::from(setting.clone()) + ": " + self.problem.clone(),
            None => self.problem.clone(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

/// Everything that is wrong with a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct RecipeError {
    /// At least one.
    pub complaints: Vec<Complaint>,
}

impl RecipeError {
    /// Returns the complaints as one message, a line or two each.
    pub fn text(&self) -> Text {
        Text::lines(self.complaints.iter().map(Complaint::text))
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl From<Complaint> for RecipeError {
    fn from(complaint: Complaint) -> Self {
        Self { complaints: vec![complaint] }
    }
}
