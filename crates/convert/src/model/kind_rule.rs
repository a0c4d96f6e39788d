//! Files that share names with base models and are none, read from `kinds/*.toml`.

use std::sync::LazyLock;

use serde::Deserialize;
use thiserror::Error;

use crate::model::condition::Condition;
use crate::model::kind::FileKind;
use crate::model::shapes::Shapes;

/// Name and text of every `kinds/*.toml`, by name.
static FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/kinds.rs"));

/// The files are part of the program and are all read by the tests, so a broken one is our bug.
static RULES: LazyLock<Vec<KindRule>> = LazyLock::new(|| match read(FILES) {
    Ok(rules) => rules,
    Err(error) => panic!("{error}"),
});

/// One row of the table of look-alikes; rows are tried in rising `order`, and the first hit wins.
#[derive(Debug)]
pub struct KindRule {
    /// Short name, unique among all rules.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// Place in the table, unique among all rules.
    pub order: u32,
    /// The kind of such a file.
    pub kind: FileKind,
    when: Vec<Condition>,
    unless: Vec<Condition>,
}

/// `kinds/NAME.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindFile {
    kind: FileKind,
    model: Vec<KindTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindTable {
    order: u32,
    id: String,
    title: String,
    when: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
}

#[derive(Debug, Error)]
#[error("kinds/{name}.toml: {problem}")]
struct KindError {
    name: String,
    problem: String,
}

impl KindRule {
    /// Returns every rule in the order in which they are tried.
    pub fn all() -> &'static [Self] {
        &RULES
    }

    /// Returns the tensors that decided, or nothing when the file is something else.
    pub(super) fn evidence(&self, shapes: &Shapes<'_>, prefix: &str) -> Option<Vec<String>> {
        let found: Option<Vec<String>> =
            self.when.iter().map(|condition| condition.evidence(shapes, prefix)).collect();
        let found = found?;
        let is_excepted = |condition: &Condition| condition.evidence(shapes, prefix).is_some();
        (!self.unless.iter().any(is_excepted)).then_some(found)
    }
}

fn read(files: &[(&str, &str)]) -> Result<Vec<KindRule>, KindError> {
    let mut rules = vec![];
    for (name, text) in files {
        let at = |problem: String| KindError { name: (*name).to_owned(), problem };
        let file: KindFile = toml::from_str(text).map_err(|error| at(error.to_string()))?;
        for table in file.model {
            if table.when.is_empty() {
                return Err(at(format!(
                    "`{}` has no condition and would fit every file",
                    table.id
                )));
            }
            rules.push(KindRule {
                kind: file.kind,
                when: Condition::parse_all(&table.when).map_err(at)?,
                unless: Condition::parse_all(&table.unless).map_err(at)?,
                id: table.id,
                title: table.title,
                order: table.order,
            });
        }
    }
    // Across files: a rule with more conditions may have to come before one of another file.
    rules.sort_by_key(|rule| rule.order);
    Ok(rules)
}
