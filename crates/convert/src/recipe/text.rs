use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::recipe::setting::Setting;

/// A message that may name settings, each in the words of whoever shows it.
///
/// Displayed and serialised, settings are their paths. A program that calls them something else asks
/// for [`Text::worded`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pieces: Vec<Piece>,
}

/// A piece of a [`Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words that are the same everywhere.
    Words(String),
    /// Name of a setting.
    Setting(Setting),
}

impl Text {
    /// Returns the pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Writes the message with these names for settings.
    pub fn worded(&self, name: impl Fn(&Setting) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Words(words) => words.clone(),
            Piece::Setting(setting) => name(setting),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// Joins lines.
    pub(crate) fn lines(lines: impl IntoIterator<Item = Text>) -> Self {
        Self::joined(lines, "\n")
    }

    /// Joins messages with something between them.
    pub(crate) fn joined(texts: impl IntoIterator<Item = Text>, between: &str) -> Self {
        texts.into_iter().reduce(|text, next| text + between + next).unwrap_or_default()
    }
}

impl Setting {
    /// Returns the text that names the setting in backticks, as part of a sentence.
    pub fn quoted(self) -> Text {
        Text::from("`") + self + "`"
    }
}

impl From<&str> for Text {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl From<String> for Text {
    fn from(words: String) -> Self {
        Self { pieces: vec![Piece::Words(words)] }
    }
}

impl From<Setting> for Text {
    fn from(setting: Setting) -> Self {
        Self { pieces: vec![Piece::Setting(setting)] }
    }
}

impl<T: Into<Text>> Add<T> for Text {
    type Output = Self;

    fn add(mut self, more: T) -> Self {
        self.pieces.extend(more.into().pieces);
        self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(Setting::to_string))
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    /// Reads a message as words; which of them named settings is lost.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Text::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_as_whoever_shows_them_does() {
        let text = Text::from("does not go together with ") + Setting::new("edit.set").quoted();
        assert_eq!(text.to_string(), "does not go together with `edit.set`");
        let flag = |setting: &Setting| format!("--{}", setting.bare_key());
        assert_eq!(text.worded(flag), "does not go together with `--set`");
        let path = Setting::new("rules").at(1).field("scheme");
        assert_eq!(serde_json::to_string(&path).unwrap(), r#""rules[1].scheme""#);
    }
}
