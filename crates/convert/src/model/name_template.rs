//! Names with numbers in them, as tables of dialects write them.

use std::collections::BTreeMap;

/// A name, or the beginning of one, with numbers in it.
///
/// ```text
/// blocks.{i}.attn            one number, called `i`
/// in.{1+level*stride+block}  a number that counts blocks through all levels
/// in.{level*stride+last}     one that counts the last block of each level
/// ```
///
/// `stride`, the blocks of a level, is the same for a whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameTemplate {
    tokens: Vec<Token>,
}

/// Indices of a name, by what they are called.
pub(crate) type Indices = BTreeMap<String, u64>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Number(Formula),
}

/// `constant + level · stride + block`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Formula {
    constant: u64,
    /// Number that is multiplied by the blocks of a level.
    level: Option<String>,
    /// Number that is added.
    block: Option<String>,
    /// Whether the last block of a level is added.
    is_last: bool,
}

impl NameTemplate {
    /// Parses a name with numbers in braces.
    ///
    /// # Errors
    /// The part of `text` that is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = vec![];
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let inside = behind.split_once('}').ok_or_else(|| format!("`{text}` has no `}}`"))?;
            tokens.push(Token::Text(before.to_owned()));
            tokens.push(Token::Number(Formula::parse(inside.0)?));
            rest = inside.1;
        }
        tokens.push(Token::Text(rest.to_owned()));
        Ok(Self { tokens })
    }

    /// Matches the beginning of a name; returns what follows, and the numbers.
    pub(crate) fn match_start<'a>(&self, name: &'a str, stride: u64) -> Option<(&'a str, Indices)> {
        let mut rest = name;
        let mut indices = Indices::new();
        for token in &self.tokens {
            match token {
                Token::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Token::Number(formula) => {
                    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    let (number, behind) = rest.split_at(digits);
                    // `01` would be written back as `1`.
                    if number.len() > 1 && number.starts_with('0') {
                        return None;
                    }
                    formula.solve(number.parse().ok()?, stride, &mut indices)?;
                    rest = behind;
                }
            }
        }
        Some((rest, indices))
    }

    /// Writes the name with these numbers; `None` where one is missing or too large.
    pub(crate) fn write(&self, indices: &Indices, stride: u64) -> Option<String> {
        let mut name = String::new();
        for token in &self.tokens {
            match token {
                Token::Text(text) => name += text,
                Token::Number(formula) => name += &formula.value(indices, stride)?.to_string(),
            }
        }
        Some(name)
    }
}

impl Formula {
    fn parse(text: &str) -> Result<Self, String> {
        let not_understood = || format!("not a number of a name: `{{{text}}}`");
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|it| it.is_ascii_lowercase());
        let mut formula = Self::default();
        for term in text.split('+') {
            match term.strip_suffix("*stride") {
                Some(level) if is_word(level) => formula.level = Some(level.to_owned()),
                _ if term == "last" => formula.is_last = true,
                _ if is_word(term) => formula.block = Some(term.to_owned()),
                _ => formula.constant = term.parse().map_err(|_| not_understood())?,
            }
        }
        let is_open = formula.level.is_some() || formula.block.is_some();
        let is_clear = formula.block.is_none() || !formula.is_last;
        if is_open && is_clear { Ok(formula) } else { Err(not_understood()) }
    }

    /// Finds the numbers that make up `value`; `None` where it is none of the formula's, or a number is
    /// known and another one.
    fn solve(&self, value: u64, stride: u64, indices: &mut Indices) -> Option<()> {
        let rest = value.checked_sub(self.constant)?;
        let (level, block) = match self.level {
            // Without levels the stride is 0, and no name is one of a level.
            Some(_) => (rest.checked_div(stride)?, rest.checked_rem(stride)?),
            None => (0, rest),
        };
        // Without a name for blocks, the number has to be that of the last block of its level, or of the level alone.
        match &self.block {
            Some(name) => put(indices, name, block)?,
            None if block == self.last(stride) => {}
            None => return None,
        }
        self.level.as_ref().map_or(Some(()), |name| put(indices, name, level))
    }

    fn value(&self, indices: &Indices, stride: u64) -> Option<u64> {
        let number = |name: &Option<String>| match name {
            Some(name) => indices.get(name).copied(),
            None => Some(0),
        };
        let block = number(&self.block)?;
        // A block past the last of its level would be one of the next.
        if self.level.is_some() && block >= stride {
            return None;
        }
        let levels = number(&self.level)?.checked_mul(stride)?;
        levels.checked_add(block)?.checked_add(self.last(stride))?.checked_add(self.constant)
    }

    fn last(&self, stride: u64) -> u64 {
        if self.is_last { stride.saturating_sub(1) } else { 0 }
    }
}

fn put(indices: &mut Indices, name: &str, value: u64) -> Option<()> {
    (*indices.entry(name.to_owned()).or_insert(value) == value).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> NameTemplate {
        NameTemplate::parse(text).unwrap()
    }

    #[test]
    fn what_is_written_is_matched() {
        let cases = [
            ("blocks.{i}.attn", "blocks.12.attn", vec![("i", 12)]),
            ("in.{1+level*stride+block}.0", "in.8.0", vec![("block", 1), ("level", 2)]),
            ("in.{1+level*stride+last}.0", "in.6.0", vec![("level", 1)]),
            ("out.{level*stride+last}.2", "out.2.2", vec![("level", 0)]),
            ("block{i}.x", "block3.x", vec![("i", 3)]),
        ];
        for (text, name, expected) in cases {
            let (rest, indices) = template(text).match_start(name, 3).expect(name);
            assert_eq!(rest, "", "{name}");
            let expected: Indices =
                expected.into_iter().map(|(name, number)| (name.to_owned(), number)).collect();
            assert_eq!(indices, expected, "{name}");
            assert_eq!(template(text).write(&indices, 3).as_deref(), Some(name));
        }
    }

    #[test]
    fn other_names_do_not_match() {
        for (text, name) in [
            ("blocks.{i}.attn", "blocks.x.attn"),
            ("blocks.{i}.attn", "blocks.01.attn"),
            ("blocks.{i}.attn", "blocks..attn"),
            ("blocks.{i}.attn", "blocks.99999999999999999999.attn"),
            ("in.{1+level*stride+last}.0", "in.5.0"),
            ("in.{1+level*stride+block}.0", "in.0.0"),
            ("a.{i}.b.{i}", "a.1.b.2"),
        ] {
            assert!(template(text).match_start(name, 3).is_none(), "{text}: {name}");
        }
        // Without levels nothing can be divided among them.
        assert!(template("in.{level*stride+block}").match_start("in.3", 0).is_none());
    }

    #[test]
    fn numbers_that_are_missing_or_too_large_are_not_written() {
        let indices = |level, block| {
            Indices::from([("level".to_owned(), level), ("block".to_owned(), block)])
        };
        let template = template("in.{1+level*stride+block}");
        assert_eq!(template.write(&Indices::new(), 3), None);
        assert_eq!(template.write(&indices(u64::MAX, 0), 3), None);
        assert_eq!(template.write(&indices(0, 3), 3), None);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["a.{", "a.{}", "a.{1}", "a.{block+last}", "a.{I}", "a.{i*2}"] {
            assert!(NameTemplate::parse(text).is_err(), "{text}");
        }
    }
}
