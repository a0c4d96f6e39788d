use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

/// A path inside the crate that a file names, from the crate root on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
}

/// Returns every path of the crate that a source file names: in `use`, and in code as `crate::…`,
/// `super::…` or by the name of a child module. Modules of tests are left out: they may look at
/// anything.
///
/// - `module`: of the file, `children`: the files that are modules of it
pub(super) fn imports(text: &str, module: &[String], children: &BTreeSet<String>) -> Vec<Import> {
    let mut tokens = tokens(text).into_iter().peekable();
    let mut imports = vec![];
    // Braces around the place, and modules among them.
    let mut around: Vec<Option<String>> = vec![];
    let mut last = String::new();
    let mut is_test = false;
    while let Some(token) = tokens.next() {
        match token.as_str() {
            "cfg(test)" => is_test = true,
            "mod" => {
                let name = tokens.next().unwrap_or_default();
                if tokens.next_if_eq("{").is_some() {
                    match std::mem::take(&mut is_test) {
                        true => skip_block(&mut tokens),
                        false => around.push(Some(name)),
                    }
                }
            }
            "{" => around.push(None),
            "}" => drop(around.pop()),
            // Only the first name of a path tells where it begins: behind a `::` the same name is another module.
            start if last != "::" && tokens.peek().is_some_and(|next| next == "::") => {
                let inline = around.iter().flatten().cloned();
                let here: Vec<String> = module.iter().cloned().chain(inline).collect();
                let base = match start {
                    "crate" => Some(vec![]),
                    "self" => Some(here),
                    "super" => Some(here[..here.len().saturating_sub(1)].to_vec()),
                    child if children.contains(child) => {
                        Some(module.iter().cloned().chain([child.to_owned()]).collect())
                    }
                    _ => None,
                };
                if let Some(base) = base {
                    tokens.next();
                    read_tree(&mut tokens, &base, &mut imports);
                }
            }
            _ => {}
        }
        last = token;
    }
    imports
}

type Tokens = Peekable<IntoIter<String>>;

/// Reads what follows `base::`: a name, more of the path, or a group of paths in braces.
fn read_tree(tokens: &mut Tokens, base: &[String], imports: &mut Vec<Import>) {
    let Some(token) = tokens.next() else { return };
    if token == "{" {
        while tokens.peek().is_some_and(|next| next != "}") {
            read_tree(tokens, base, imports);
            tokens.next_if_eq("as").and_then(|_| tokens.next());
            tokens.next_if_eq(",");
        }
        tokens.next();
        return;
    }
    let mut path = base.to_vec();
    match token.as_str() {
        "super" => drop(path.pop()),
        // The module itself, and all that is in it.
        "self" | "*" => {}
        name => path.push(name.to_owned()),
    }
    match tokens.next_if_eq("::") {
        Some(_) => read_tree(tokens, &path, imports),
        None => imports.push(Import { path }),
    }
}

fn skip_block(tokens: &mut Tokens) {
    let mut depth = 1;
    for token in tokens {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Splits a source into names, `::` and single other characters, without comments and texts.
/// `#[cfg(test)]` is one token.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = vec![];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_of_name = |char: char| char.is_alphanumeric() || char == '_';
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => text_length(rest),
            'r' if rest.starts_with("r#\"") => {
                rest[3..].find("\"#").map_or(rest.len(), |end| end + 5)
            }
            '\'' => character_length(rest),
            _ if rest.starts_with("#[cfg(test)]") => {
                tokens.push("cfg(test)".to_owned());
                "#[cfg(test)]".len()
            }
            _ if rest.starts_with("::") => {
                tokens.push("::".to_owned());
                2
            }
            _ if is_of_name(first) => {
                let length = rest.find(|char| !is_of_name(char)).unwrap_or(rest.len());
                tokens.push(rest[..length].to_owned());
                length
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(first.to_string());
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// Returns the number of bytes of a text in quotes.
fn text_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Returns the number of bytes of a character in quotes, or of the quote of a lifetime alone.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next(), chars.next()) {
        (Some((_, '\\')), _, Some((at, _))) => {
            rest[at..].find('\'').map_or(rest.len(), |end| at + end + 1)
        }
        (Some(_), Some((at, '\'')), _) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let module = ["a".to_owned(), "b".to_owned()];
        let children = BTreeSet::from(["child".to_owned()]);
        imports(text, &module, &children).into_iter().map(|it| it.path.join("::")).collect()
    }

    #[test]
    fn groups_and_relative_paths_are_spelled_out() {
        assert_eq!(paths("use crate::{x::{self, Y as Z}, w::*};"), ["x", "x::Y", "w"]);
        assert_eq!(
            paths("use super::c::D; use self::child::E; use child::F;"),
            ["a::c::D", "a::b::child::E", "a::b::child::F"]
        );
        assert_eq!(paths("use super::super::x::Y; use std::fmt; use serde::de::child;"), ["x::Y"]);
    }

    #[test]
    fn code_is_read_and_texts_are_not() {
        assert_eq!(paths("fn f() { crate::x::g(child::h()) }"), ["x::g", "a::b::child::h"]);
        let silent = "// use crate::x;\n/* crate::x */ let a = \"crate::x \\\" crate::y\"; \
             let q = '\"'; let e = '\\''; fn f<'a>(t: &'a str) {} r#\"crate::z\"#";
        assert_eq!(paths(silent), Vec::<String>::new());
    }

    #[test]
    fn modules_in_the_file_have_their_own_parent() {
        assert_eq!(paths("mod inner { use super::X; } use super::Y;"), ["a::b::X", "a::Y"]);
        assert_eq!(paths("#[cfg(test)]\nmod tests { use crate::x::Y; fn f() {} }"), [""; 0]);
    }
}
