//! One condition of a detection rule, as a preset file writes it.

use std::fmt;

use crate::model::architecture::Shapes;

/// What a file must hold for an architecture to be recognised.
///
/// ```text
/// KEY            a tensor of this name exists
/// KEY*           the name of some tensor starts so
/// KEY[d] = n     it exists, and its dimension d (from 0) is n
/// A | B          one of these
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Condition(Vec<Test>);

#[derive(Debug, Clone)]
enum Test {
    Exists(String),
    Starts(String),
    Dimension { key: String, axis: usize, size: u64 },
}

impl Condition {
    /// # Errors
    /// The part of `text` that is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        text.split(" | ").map(Test::parse).collect::<Result<_, _>>().map(Self)
    }

    /// The first thing in the file that fulfils the condition, worded for a reader; names are
    /// looked up behind `prefix`.
    pub(crate) fn evidence(&self, shapes: &Shapes<'_>, prefix: &str) -> Option<String> {
        self.0.iter().find_map(|test| test.evidence(shapes, prefix))
    }
}

/// The text that [`Condition::parse`] reads.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, test) in self.0.iter().enumerate() {
            let before = if number == 0 { "" } else { " | " };
            match test {
                Test::Exists(key) => write!(f, "{before}{key}")?,
                Test::Starts(start) => write!(f, "{before}{start}*")?,
                Test::Dimension { key, axis, size } => {
                    write!(f, "{before}{key}[{axis}] = {size}")?;
                }
            }
        }
        Ok(())
    }
}

impl Test {
    fn parse(text: &str) -> Result<Self, String> {
        let not_understood = || format!("not a condition: `{text}`");
        if let Some((key, rest)) = text.split_once('[') {
            let (axis, size) = rest.split_once("] = ").ok_or_else(not_understood)?;
            return Ok(Self::Dimension {
                key: key.to_owned(),
                axis: axis.parse().map_err(|_| not_understood())?,
                size: size.parse().map_err(|_| not_understood())?,
            });
        }
        let (key, starts) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        if key.is_empty() || key.contains([' ', '*', ']', '=', '|']) {
            return Err(not_understood());
        }
        Ok(if starts { Self::Starts(key.to_owned()) } else { Self::Exists(key.to_owned()) })
    }

    fn evidence(&self, shapes: &Shapes<'_>, prefix: &str) -> Option<String> {
        match self {
            Self::Exists(key) => {
                let name = format!("{prefix}{key}");
                shapes.shape(&name).map(|_| name)
            }
            Self::Starts(start) => {
                shapes.starting_with(&format!("{prefix}{start}")).next().map(str::to_owned)
            }
            Self::Dimension { key, axis, size } => {
                let name = format!("{prefix}{key}");
                let shape = shapes.shape(&name)?;
                (shape.get(*axis) == Some(size)).then(|| format!("{name} {shape:?}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_finds_what_it_says() {
        let shapes: Shapes<'_> =
            [("net.a.weight", &[8, 4][..]), ("net.b.0.bias", &[3][..])].into_iter().collect();
        let found = |text: &str| Condition::parse(text).unwrap().evidence(&shapes, "net.");
        assert_eq!(found("a.weight").as_deref(), Some("net.a.weight"));
        assert_eq!(found("b.*").as_deref(), Some("net.b.0.bias"));
        assert_eq!(found("a.weight[1] = 4").as_deref(), Some("net.a.weight [8, 4]"));
        assert_eq!(found("c | b.*").as_deref(), Some("net.b.0.bias"));
        for text in ["a.weight", "b.*", "a.weight[1] = 4", "c | b.* | d[0] = 3"] {
            assert_eq!(Condition::parse(text).unwrap().to_string(), text);
        }
        for absent in ["c", "a.weight[1] = 5", "a.weight[2] = 4", "c*", "a"] {
            assert_eq!(found(absent), None, "{absent}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "*", "a b", "a[0]", "a[0] == 4", "a[x] = 4", "a*b", "a|b", "a | "] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }
}
