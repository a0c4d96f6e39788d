//! One condition of a detection rule, as a preset file writes it.

use std::fmt;

use crate::model::shapes::Shapes;

/// A condition on the tensors of a file, for an architecture to be recognised.
///
/// ```text
/// KEY            a tensor of this name exists
/// KEY*           the name of some tensor starts so
/// *KEY           the name of some tensor ends so, whatever it starts with
/// *KEY*          the name of some tensor holds this
/// *KEY[] = n     the name of some tensor ends so, and it has n dimensions
/// KEY[d] = n     it exists, and its dimension d (from 0) is n
/// KEY[d] != n, m it exists, and its dimension d is none of these, but one of a real model
/// A | B          one of these
/// ```
///
/// `!=` is of exceptions: of models that have the names of another, and other sizes. Small models,
/// such as those of trials, have no sizes that tell a family.
#[derive(Debug, Clone)]
pub(crate) struct Condition(Vec<Test>);

#[derive(Debug, Clone)]
enum Test {
    Exists(String),
    Starts(String),
    Ends(String),
    Holds(String),
    Rank { end: String, rank: usize },
    Dimension { key: String, axis: usize, size: u64 },
    OtherDimension { key: String, axis: usize, sizes: Vec<u64> },
}

/// Largest dimension of a small model that tells nothing.
const SMALL: u64 = 1000;

impl Condition {
    /// Parses one condition.
    ///
    /// # Errors
    /// The part of `text` that is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        text.split(" | ").map(Test::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Parses several conditions.
    ///
    /// # Errors
    /// As [`Condition::parse`].
    pub(crate) fn parse_all(texts: &[String]) -> Result<Vec<Self>, String> {
        texts.iter().map(|text| Self::parse(text)).collect()
    }

    /// Returns the first thing in the file that fulfils the condition, worded for a reader; names
    /// are looked up behind `prefix`.
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
                Test::Ends(end) => write!(f, "{before}*{end}")?,
                Test::Holds(part) => write!(f, "{before}*{part}*")?,
                Test::Rank { end, rank } => write!(f, "{before}*{end}[] = {rank}")?,
                Test::Dimension { key, axis, size } => {
                    write!(f, "{before}{key}[{axis}] = {size}")?;
                }
                Test::OtherDimension { key, axis, sizes } => {
                    let sizes: Vec<String> = sizes.iter().map(u64::to_string).collect();
                    write!(f, "{before}{key}[{axis}] != {}", sizes.join(", "))?;
                }
            }
        }
        Ok(())
    }
}

impl Test {
    fn parse(text: &str) -> Result<Self, String> {
        let not_understood = || format!("not a condition: `{text}`");
        // Tried before `KEY[d] = n`, for which it would be taken.
        if let Some((end, rank)) = text.strip_prefix('*').and_then(|it| it.split_once("[] = ")) {
            let rank = rank.parse().map_err(|_| not_understood())?;
            return match end.is_empty() {
                true => Err(not_understood()),
                false => Ok(Self::Rank { end: end.to_owned(), rank }),
            };
        }
        if let Some((key, rest)) = text.split_once('[') {
            if let Some((axis, sizes)) = rest.split_once("] != ") {
                let sizes: Result<Vec<u64>, _> = sizes.split(", ").map(str::parse).collect();
                return Ok(Self::OtherDimension {
                    key: key.to_owned(),
                    axis: axis.parse().map_err(|_| not_understood())?,
                    sizes: sizes.map_err(|_| not_understood())?,
                });
            }
            let (axis, size) = rest.split_once("] = ").ok_or_else(not_understood)?;
            return Ok(Self::Dimension {
                key: key.to_owned(),
                axis: axis.parse().map_err(|_| not_understood())?,
                size: size.parse().map_err(|_| not_understood())?,
            });
        }
        let (is_open, key) = text.strip_prefix('*').map_or((false, text), |key| (true, key));
        let (key, starts) = match key.strip_suffix('*') {
            Some(start) => (start, true),
            None => (key, false),
        };
        // A character of the notation inside a name is a slip in the table.
        if key.is_empty() || key.contains([' ', '*', ']', '=', '|']) {
            return Err(not_understood());
        }
        let key = key.to_owned();
        Ok(match (is_open, starts) {
            (false, false) => Self::Exists(key),
            (false, true) => Self::Starts(key),
            (true, false) => Self::Ends(key),
            (true, true) => Self::Holds(key),
        })
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
            // These look at whole names, whatever the prefix.
            Self::Ends(end) => shapes.ending_with(end).first().map(|name| (*name).to_owned()),
            Self::Holds(part) => shapes.first_holding(part).map(str::to_owned),
            Self::Rank { end, rank } => {
                let has_rank = |name: &&str| shapes.shape(name).is_some_and(|it| it.len() == *rank);
                shapes.ending_with(end).into_iter().find(has_rank).map(str::to_owned)
            }
            Self::Dimension { key, axis, size } => {
                let name = format!("{prefix}{key}");
                let shape = shapes.shape(&name)?;
                (shape.get(*axis) == Some(size)).then(|| format!("{name} {shape:?}"))
            }
            Self::OtherDimension { key, axis, sizes } => {
                let name = format!("{prefix}{key}");
                let shape = shapes.shape(&name)?;
                let is_other = |size: &&u64| **size > SMALL && !sizes.contains(size);
                shape.get(*axis).filter(is_other).map(|_| format!("{name} {shape:?}"))
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
        assert_eq!(found("*.0.bias").as_deref(), Some("net.b.0.bias"));
        assert_eq!(found("*b.0*").as_deref(), Some("net.b.0.bias"));
        assert_eq!(found("*.weight[] = 2").as_deref(), Some("net.a.weight"));
        let texts = ["a.weight", "b.*", "a.weight[1] = 4", "c | b.* | d[0] = 3", "*a", "*a*"];
        for text in texts.into_iter().chain(["*a[] = 4"]) {
            assert_eq!(Condition::parse(text).unwrap().to_string(), text);
        }
        for absent in
            ["c", "a.weight[1] = 5", "a.weight[2] = 4", "c*", "a", "*.bia", "*.weight[] = 1"]
        {
            assert_eq!(found(absent), None, "{absent}");
        }
    }

    #[test]
    fn another_size_is_one_of_a_real_model() {
        let shapes: Shapes<'_> =
            [("a.weight", &[4096, 1000][..]), ("b.weight", &[3][..])].into_iter().collect();
        let found = |text: &str| Condition::parse(text).unwrap().evidence(&shapes, "");
        assert_eq!(found("a.weight[0] != 2048, 5120").as_deref(), Some("a.weight [4096, 1000]"));
        for absent in [
            "a.weight[0] != 4096",
            "a.weight[0] != 1, 4096",
            "a.weight[1] != 7",
            "a.weight[2] != 7",
        ] {
            assert_eq!(found(absent), None, "{absent}");
        }
        assert_eq!(Condition::parse("a[0] != 1, 2").unwrap().to_string(), "a[0] != 1, 2");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "*",
            "a b",
            "a[0]",
            "a[0] == 4",
            "a[x] = 4",
            "a[0] != ",
            "a[0] != 4,5",
            "a*b",
            "a|b",
            "a | ",
            "**",
            "*[] = 3",
        ] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }
}
