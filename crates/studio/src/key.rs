use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::error::StudioError;

/// The key of the page: 256 random bits, new each time the server starts.
pub(crate) struct Key(String);

/// Codes that a browser is opened with, each good once and for a minute: the command line that
/// opens it can be read by other users of the machine, and a key there would stay good.
#[derive(Default)]
pub(crate) struct Codes(Vec<Code>);

struct Code {
    text: String,
    made: Instant,
    /// The path that the page opens first.
    start: Option<String>,
}

/// Time in which a code has to be used.
const GOOD_FOR: Duration = Duration::from_secs(60);

impl Key {
    /// Makes a new one.
    pub(crate) fn new() -> Result<Self, StudioError> {
        random_text().map(Self)
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not tell where texts begin to differ.
    pub(crate) fn is(&self, text: &str) -> bool {
        let pairs = self.0.bytes().zip(text.bytes());
        let differing = pairs.fold(0, |differing, (ours, theirs)| differing | (ours ^ theirs));
        // Kept from a compiler that would end the loop at the first difference.
        self.0.len() == text.len() && std::hint::black_box(differing) == 0
    }
}

impl Codes {
    /// Makes a code.
    ///
    /// - `start`: path that the page is to begin with
    pub(crate) fn make(&mut self, start: Option<String>) -> Result<String, StudioError> {
        self.0.retain(|code| code.made.elapsed() < GOOD_FOR);
        let text = random_text()?;
        self.0.push(Code { text: text.clone(), made: Instant::now(), start });
        Ok(text)
    }

    /// Takes a code back, with what the page is to begin with; `None` where it is not good.
    pub(crate) fn redeem(&mut self, text: &str) -> Option<Option<String>> {
        self.0.retain(|code| code.made.elapsed() < GOOD_FOR);
        let index = self.0.iter().position(|code| code.text == text)?;
        Some(self.0.remove(index).start)
    }
}

/// 256 random bits in hexadecimal digits.
fn random_text() -> Result<String, StudioError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| StudioError::NoRandom { problem: error.to_string() })?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_itself_alone() {
        let key = Key::new().unwrap();
        let text = key.text().to_owned();
        assert_eq!(text.len(), 64);
        assert!(key.is(&text));
        for other in ["", &text[1..], &format!("{text}0"), &text.replace(&text[..1], "x")] {
            assert!(!key.is(other), "{other}");
        }
        assert!(!key.is(Key::new().unwrap().text()));
    }

    #[test]
    fn a_code_is_good_once() {
        let mut codes = Codes::default();
        let code = codes.make(Some("/m".to_owned())).unwrap();
        assert_eq!(codes.redeem("other"), None);
        assert_eq!(codes.redeem(&code), Some(Some("/m".to_owned())));
        assert_eq!(codes.redeem(&code), None);
    }
}
