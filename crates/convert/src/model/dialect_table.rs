//! Names of a model's tensors in another dialect, read from `dialects/*.toml`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use thiserror::Error;

use crate::model::dialect::Dialect;
use crate::model::name_template::NameTemplate;

/// Name and text of every `dialects/*.toml`, by name.
static FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/dialects.rs"));

/// The files are part of the program and are all read by the tests, so a broken one is our bug.
static TABLES: LazyLock<Vec<DialectTable>> = LazyLock::new(|| match read(FILES) {
    Ok(tables) => tables,
    Err(error) => panic!("{error}"),
});

/// The names of one family of models in one dialect, with the names in the model's own code.
#[derive(Debug)]
pub(crate) struct DialectTable {
    /// The name of its file.
    #[cfg_attr(not(test), allow(dead_code, reason = "tests find tables by it"))]
    pub(crate) name: String,
    /// The models, for people.
    pub(crate) title: String,
    /// Whose names these are.
    pub(crate) dialect: Dialect,
    /// Models under these names, by the ids of their architectures.
    pub(crate) architectures: Vec<String>,
    /// These models under their own names, by the ids of their architectures.
    pub(crate) originals: Vec<String>,
    /// Which of several models of one architecture it is for, by `general.architecture` of GGUF; empty
    /// for all.
    pub(crate) general_architectures: Vec<String>,
    /// Tensors that the model's own files do not have, because it computes them.
    pub(crate) drop: Vec<String>,
    pub(crate) stride: Option<Stride>,
    pub(crate) rules: Vec<NameRule>,
}

/// How many blocks each level of a model has, with the one that ends it.
#[derive(Clone, Debug)]
pub(crate) struct Stride {
    /// Name of one of the blocks of a level that are counted.
    pub(crate) theirs: NameTemplate,
    /// Name of the block that ends a level.
    pub(crate) ours: NameTemplate,
}

/// The parts that one tensor or one layer is made of.
#[derive(Clone, Debug)]
pub(crate) struct NameRule {
    pub(crate) ours: NameTemplate,
    /// Its parts, from the first row to the last.
    pub(crate) theirs: Vec<NameTemplate>,
    /// Whether the names are those of a layer, whose tensors have one more segment.
    pub(crate) is_layer: bool,
    pub(crate) rows: RowRule,
    /// Holds only where names begin so.
    pub(crate) only_if: Option<NameTemplate>,
    /// Holds only where no name begins so.
    pub(crate) not_if: Option<NameTemplate>,
}

/// The order and division of rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowRule {
    /// Number of first parts that have as many rows as the weight has columns; the others share the
    /// rest evenly.
    pub(crate) square: usize,
    pub(crate) halves: Halves,
    /// The entry of a GGUF header with the number of heads in each of which the rows have another order.
    pub(crate) heads: Option<String>,
}

/// Which half of a layer's rows comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Halves {
    #[default]
    Same,
    /// The second.
    Swapped,
    /// The second, where the weight has two rows for each column.
    SwappedIfPair,
}

/// `dialects/NAME.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    title: String,
    dialect: Dialect,
    architectures: Vec<String>,
    originals: Vec<String>,
    #[serde(default)]
    general_architectures: Vec<String>,
    /// Tables whose groups hold as well.
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    drop: Vec<String>,
    stride: Option<StrideTable>,
    #[serde(default)]
    group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrideTable {
    theirs: String,
    ours: String,
}

/// Layers and tensors whose names begin alike.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default)]
    theirs: String,
    #[serde(default)]
    ours: String,
    only_if: Option<String>,
    not_if: Option<String>,
    /// Layers with the same name in both.
    #[serde(default)]
    same: Vec<String>,
    #[serde(default)]
    same_tensors: Vec<String>,
    /// Our layer, and what it is made of.
    #[serde(default)]
    layers: BTreeMap<String, MadeOf>,
    /// Our tensor, and what it is made of.
    #[serde(default)]
    tensors: BTreeMap<String, MadeOf>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum MadeOf {
    One(String),
    Many(Vec<String>),
    Table(MadeOfTable),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MadeOfTable {
    of: OneOrMany,
    #[serde(default)]
    square: usize,
    #[serde(default)]
    halves: Halves,
    heads: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Error)]
#[error("dialects/{name}.toml: {problem}")]
struct TableError {
    name: String,
    problem: String,
}

impl DialectTable {
    /// Returns all tables by name.
    pub(crate) fn all() -> &'static [Self] {
        &TABLES
    }

    /// Returns the table of a model under names of its dialect.
    ///
    /// - `general_architecture`: what a GGUF header calls it
    pub(crate) fn of(
        architecture: &str,
        general_architecture: Option<&str>,
    ) -> Option<&'static Self> {
        let is_of = |list: &[String], name: &str| list.iter().any(|it| it == name);
        Self::all().iter().find(|table| {
            let is_meant = table.general_architectures.is_empty()
                || general_architecture.is_some_and(|it| is_of(&table.general_architectures, it));
            is_of(&table.architectures, architecture) && is_meant
        })
    }

    /// Returns the tables of a model under its own names.
    pub(crate) fn of_original(architecture: &str) -> impl Iterator<Item = &'static Self> {
        let is_of = move |table: &&Self| table.originals.iter().any(|it| it == architecture);
        Self::all().iter().filter(is_of)
    }
}

fn read(files: &[(&str, &str)]) -> Result<Vec<DialectTable>, TableError> {
    let at = |name: &str| {
        let name = name.to_owned();
        move |problem: String| TableError { name, problem }
    };
    let mut parsed = BTreeMap::new();
    for &(name, text) in files {
        let file: TableFile = toml::from_str(text).map_err(|e| at(name)(e.to_string()))?;
        parsed.insert(name, file);
    }
    let table = |(name, file): (&&str, &TableFile)| file.resolve(name, &parsed).map_err(at(name));
    parsed.iter().map(table).collect()
}

impl TableFile {
    fn resolve(&self, name: &str, all: &BTreeMap<&str, Self>) -> Result<DialectTable, String> {
        // Its own rules come first, and so decide where both have a name for one tensor.
        let mut rules = vec![];
        self.add_rules(&mut rules)?;
        for other in &self.include {
            match all.get(other.as_str()) {
                Some(file) if file.include.is_empty() => file.add_rules(&mut rules)?,
                Some(_) | None => return Err(format!("includes `{other}`, which it cannot")),
            }
        }
        let stride = self.stride.as_ref().map(|stride| {
            let (theirs, ours) = (blank(&stride.theirs)?, blank(&stride.ours)?);
            Ok::<_, String>(Stride { theirs, ours })
        });
        Ok(DialectTable {
            name: name.to_owned(),
            title: self.title.clone(),
            dialect: self.dialect,
            architectures: self.architectures.clone(),
            originals: self.originals.clone(),
            general_architectures: self.general_architectures.clone(),
            drop: self.drop.clone(),
            stride: stride.transpose()?,
            rules,
        })
    }

    fn add_rules(&self, rules: &mut Vec<NameRule>) -> Result<(), String> {
        for group in &self.group {
            group.add_rules(rules)?;
        }
        Ok(())
    }
}

/// Parses a template whose one number is written `{}`.
fn blank(text: &str) -> Result<NameTemplate, String> {
    NameTemplate::parse(&text.replace("{}", "{i}"))
}

impl Group {
    fn add_rules(&self, rules: &mut Vec<NameRule>) -> Result<(), String> {
        let same = |names: &[String]| -> Vec<(String, MadeOf)> {
            names.iter().map(|name| (name.clone(), MadeOf::One(name.clone()))).collect()
        };
        let named = |table: &BTreeMap<String, MadeOf>| table.clone().into_iter();
        let layers = named(&self.layers).chain(same(&self.same)).map(|it| (it, true));
        let tensors = named(&self.tensors).chain(same(&self.same_tensors)).map(|it| (it, false));
        for ((ours, made_of), is_layer) in layers.chain(tensors) {
            let (theirs, rows) = made_of.parts();
            let ours = NameTemplate::parse(&format!("{}{ours}", self.ours))?;
            let theirs =
                theirs.iter().map(|it| NameTemplate::parse(&format!("{}{it}", self.theirs)));
            let theirs = theirs.collect::<Result<Vec<_>, _>>()?;
            // At least one part must be left to share the rest of the rows.
            if theirs.is_empty() || (rows.square >= theirs.len() && rows.square > 0) {
                return Err("a layer is made of fewer parts than it says".to_owned());
            }
            let condition =
                |text: &Option<String>| text.as_deref().map(NameTemplate::parse).transpose();
            let (only_if, not_if) = (condition(&self.only_if)?, condition(&self.not_if)?);
            rules.push(NameRule { ours, theirs, is_layer, rows, only_if, not_if });
        }
        Ok(())
    }
}

impl MadeOf {
    fn parts(self) -> (Vec<String>, RowRule) {
        match self {
            Self::One(part) => (vec![part], RowRule::default()),
            Self::Many(parts) => (parts, RowRule::default()),
            Self::Table(MadeOfTable { of, square, halves, heads }) => {
                let parts = match of {
                    OneOrMany::One(part) => vec![part],
                    OneOrMany::Many(parts) => parts,
                };
                (parts, RowRule { square, halves, heads })
            }
        }
    }
}

impl NameRule {
    /// Returns whether rows stay what they are and where they are.
    pub(crate) fn only_renames(&self) -> bool {
        self.theirs.len() == 1 && self.rows.halves == Halves::Same && self.rows.heads.is_none()
    }
}
