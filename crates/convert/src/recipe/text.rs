use std::borrow::Cow;
use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::recipe::command::Command;
use crate::recipe::setting::Setting;

/// A message that may name settings and commands, each in the words of whoever shows it.
///
/// Displayed and serialised, settings are their paths, and commands what they do. A program that calls
/// them something else asks for [`Text::worded_with`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    pieces: Vec<Piece>,
}

/// A piece of a [`Text`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// Words that every front end shows as they are.
    Words(String),
    /// Name of a setting.
    Setting(Setting),
    /// Name of a command.
    Command(Command),
}

impl Text {
    /// Returns the pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Writes the message with these names for settings.
    pub fn worded(&self, setting: impl Fn(&Setting) -> String) -> String {
        self.worded_with(setting, Command::to_string)
    }

    /// Writes the message with these names for settings and for commands.
    pub fn worded_with(
        &self,
        setting: impl Fn(&Setting) -> String,
        command: impl Fn(&Command) -> String,
    ) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Words(words) => words.clone(),
            Piece::Setting(name) => setting(name),
            Piece::Command(name) => command(name),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// Names a pattern of a setting.
    pub(crate) fn pattern(key: &str, entry: usize, pattern: &regex::Regex) -> Self {
        Text::from(Setting::new(key).at(entry)) + format!(" `{pattern}`")
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

impl From<Cow<'_, str>> for Text {
    fn from(words: Cow<'_, str>) -> Self {
        words.into_owned().into()
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

impl From<Command> for Text {
    fn from(command: Command) -> Self {
        Self { pieces: vec![Piece::Command(command)] }
    }
}

impl<T: Into<Text>> Add<T> for Text {
    type Output = Self;

    fn add(mut self, more: T) -> Self {
        self.pieces.extend(more.into().pieces);
        self
    }
}

impl PartialEq<str> for Text {
    /// Compares what is displayed.
    fn eq(&self, displayed: &str) -> bool {
        self.worded(Setting::to_string) == displayed
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, displayed: &&str) -> bool {
        self == *displayed
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

/// Formats a number of bytes.
pub(crate) fn sized(bytes: u64) -> String {
    let [kib, mib, gib] = [10, 20, 30].map(|bits| bytes as f64 / f64::from(1_u32 << bits));
    match bytes {
        0..=1023 => format!("{bytes} bytes"),
        _ if mib < 1.0 => format!("{kib:.1} KiB"),
        _ if gib < 1.0 => format!("{mib:.1} MiB"),
        _ => format!("{gib:.1} GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_as_whoever_shows_them_does() {
        let text = Text::from("does not go together with ") + Setting::new("edit.set").quoted();
        assert_eq!(text.to_string(), "does not go together with `edit.set`");
        let flag = |setting: &Setting| setting.key().replace("edit.", "--");
        assert_eq!(text.worded(flag), "does not go together with `--set`");
        let path = Setting::new("rules").at(1).field("scheme");
        assert_eq!(serde_json::to_string(&path).unwrap(), r#""rules[1].scheme""#);
    }
}
