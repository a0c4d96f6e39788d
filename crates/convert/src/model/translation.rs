//! What the tensors of a file are under their model's own names, and the other way round.

use std::collections::BTreeMap;
use std::ops::Range;

use roundwise_tensor_file::{Arranged, RowOrder, Rows};
use thiserror::Error;

use crate::model::architecture::Shapes;
use crate::model::dialect_table::{DialectTable, Halves, NameRule, Stride};
use crate::model::name_template::{NameTemplate, Numbers};

/// A file's tensors under other names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Every tensor, with the rows of the file's tensors that it is made of.
    pub tensors: Vec<Arranged>,
    /// Names of the file's tensors that are part of none.
    pub dropped: Vec<String>,
}

/// Why names are not translated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum TranslationError {
    #[error("tensor `{tensor}` is none that {title} has under the names of {dialect}")]
    Unknown { tensor: String, title: String, dialect: String },
    #[error("tensor `{tensor}` belongs to codes: their layer is joined with others, or its rows change places, which scales of codes do not survive")]
    Codes { tensor: String },
    #[error("tensor `{tensor}` is to be made of {parts} tensors, of which `{missing}` is missing")]
    MissingPart { tensor: String, parts: usize, missing: String },
    #[error("tensor `{tensor}` would be made of `{first}` and of `{second}`")]
    Twice { tensor: String, first: String, second: String },
    #[error("tensor `{part}` is {found:?}, which does not go with `{first}`, {expected:?}")]
    Shape { part: String, found: Vec<u64>, first: String, expected: Vec<u64> },
    #[error("tensor `{tensor}` has {rows} rows, which are not so many parts")]
    Uneven { tensor: String, rows: u64 },
    #[error("tensor `{tensor}` has rows in another order, and the file does not say of how many heads (`{key}`)")]
    Heads { tensor: String, key: String },
}

/// What a file says besides names and shapes.
pub(crate) trait Said {
    /// A whole number of the file's header.
    fn number(&self, key: &str) -> Option<u64>;
}

impl<F: Fn(&str) -> Option<u64>> Said for F {
    fn number(&self, key: &str) -> Option<u64> {
        self(key)
    }
}

/// Which of a file's names are meant, and what else there is to know of it.
pub(crate) struct Scope<'a> {
    /// Names and shapes of the whole file.
    pub(crate) shapes: &'a Shapes<'a>,
    /// What the names of the model begin with.
    pub(crate) prefix: &'a str,
    /// What they begin with afterwards.
    pub(crate) new_prefix: &'a str,
    /// What is taken off all other names.
    pub(crate) wrapper: &'a str,
    pub(crate) said: &'a dyn Said,
}

/// What one name is a part of.
struct Place<'a> {
    rule: &'a NameRule,
    part: usize,
    numbers: Numbers,
    leaf: &'a str,
}

impl DialectTable {
    /// Translates names of the dialect into the model's own.
    ///
    /// - `is_meant`: whether a tensor is one of the model's; all others stay what they are
    ///
    /// # Errors
    /// When a tensor of the model is none that the table knows, or does not go with those that it is
    /// joined with.
    pub(crate) fn translate(
        &self,
        scope: &Scope<'_>,
        is_meant: &dyn Fn(&str) -> bool,
    ) -> Result<Translation, TranslationError> {
        let stride = self.stride.as_ref().map_or(0, |stride| stride.in_theirs(scope));
        let mut made: BTreeMap<String, (usize, Vec<Option<&str>>, &NameRule, &str)> = BTreeMap::new();
        let mut translation = Translation::default();
        for name in scope.shapes.names() {
            let Some(bare) = name.strip_prefix(scope.prefix).filter(|_| is_meant(name)) else {
                translation.tensors.push(unwrapped(name, scope));
                continue;
            };
            if self.drop.iter().any(|dropped| dropped == bare) {
                translation.dropped.push(name.to_owned());
                continue;
            }
            let Some(place) = self.place(bare, stride, scope) else {
                if is_marker(bare) {
                    translation.tensors.push(unwrapped(name, scope));
                    continue;
                }
                return Err(self.unknown(name));
            };
            let Place { rule, part, numbers, leaf } = place;
            if !rule.only_renames() && rule.is_layer && !["weight", "bias"].contains(&leaf) {
                return Err(TranslationError::Codes { tensor: name.to_owned() });
            }
            let ours = rule.ours.write(&numbers, stride).map(|ours| rule.named(&ours, leaf));
            let ours = ours.ok_or_else(|| self.unknown(name))?;
            let ours = format!("{}{ours}", scope.new_prefix);
            let empty = || (part, vec![None; rule.theirs.len()], rule, leaf);
            let (_, parts, first_rule, _) = made.entry(ours.clone()).or_insert_with(empty);
            let is_same = std::ptr::eq(*first_rule, rule);
            if let Some(first) = parts.iter().flatten().next().filter(|_| !is_same || parts[part].is_some()) {
                let (first, second) = ((*first).to_owned(), name.to_owned());
                return Err(TranslationError::Twice { tensor: ours, first, second });
            }
            parts[part] = Some(name);
        }
        for (ours, (at, parts, rule, leaf)) in made {
            let missing = parts.iter().position(Option::is_none);
            if let Some(missing) = missing {
                let known = parts[at].unwrap_or_default();
                let like = self.sibling(rule, (at, missing), known, leaf, stride, scope);
                return Err(TranslationError::MissingPart { tensor: ours, parts: parts.len(), missing: like });
            }
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            translation.tensors.push(joined(ours, &parts, rule, leaf, scope)?);
        }
        Ok(translation)
    }

    /// Finds what the model's own tensors are under the names of the dialect. Tensors that it has no
    /// name for are left out.
    pub(crate) fn invert(&self, scope: &Scope<'_>) -> Vec<Arranged> {
        let stride = self.stride.as_ref().map_or(0, |stride| stride.in_ours(scope));
        let names = scope.shapes.names();
        let bare = names.filter_map(|name| Some((name, name.strip_prefix(scope.prefix)?)));
        bare.filter_map(|(name, bare)| {
            let (rule, numbers, leaf) = self.rules.iter().find_map(|rule| {
                let (rest, numbers) = rule.ours.match_start(bare, stride)?;
                Some((rule, numbers, rule.leaf(rest)?))
            })?;
            parted(name, rule, &numbers, leaf, stride, scope)
        })
        .flatten()
        .collect()
    }

    fn unknown(&self, name: &str) -> TranslationError {
        let (title, dialect) = (self.title.clone(), self.dialect.to_string());
        TranslationError::Unknown { tensor: name.to_owned(), title, dialect }
    }

    /// What a name is a part of.
    fn place<'a>(&'a self, bare: &'a str, stride: u64, scope: &Scope<'_>) -> Option<Place<'a>> {
        let holds = |template: &NameTemplate, numbers: &Numbers| {
            let start = template.write(numbers, stride);
            start.is_some_and(|start| {
                let start = format!("{}{start}", scope.prefix);
                scope.shapes.starting_with(&start).next().is_some()
            })
        };
        self.rules.iter().find_map(|rule| {
            rule.theirs.iter().enumerate().find_map(|(part, theirs)| {
                let (rest, numbers) = theirs.match_start(bare, stride)?;
                let leaf = rule.leaf(rest)?;
                let is_asked = rule.only_if.as_ref().is_none_or(|only| holds(only, &numbers));
                let is_barred = rule.not_if.as_ref().is_some_and(|not| holds(not, &numbers));
                (is_asked && !is_barred).then_some(Place { rule, part, numbers, leaf })
            })
        })
    }

    /// What a part that is missing would be called.
    fn sibling(
        &self,
        rule: &NameRule,
        (at, missing): (usize, usize),
        known: &str,
        leaf: &str,
        stride: u64,
        scope: &Scope<'_>,
    ) -> String {
        let bare = known.strip_prefix(scope.prefix).unwrap_or(known);
        let numbers = rule.theirs[at].match_start(bare, stride).map(|(_, numbers)| numbers);
        let name = numbers.and_then(|numbers| rule.theirs[missing].write(&numbers, stride));
        format!("{}{}", scope.prefix, rule.named(&name.unwrap_or_default(), leaf))
    }
}

/// Marks a whole file; it is no layer's.
fn is_marker(bare: &str) -> bool {
    bare == "scaled_fp8"
}

/// Takes what training code put before all names off them. Names that do not begin so stay.
pub(crate) fn without_wrapper(scope: &Scope<'_>) -> Translation {
    let tensors = scope.shapes.names().map(|name| unwrapped(name, scope)).collect();
    Translation { tensors, dropped: vec![] }
}

fn unwrapped(name: &str, scope: &Scope<'_>) -> Arranged {
    let shape = scope.shapes.shape(name).unwrap_or_default().to_vec();
    let parts = vec![rows(name, 0..row_count(&shape), RowOrder::AsStored)];
    let name = name.strip_prefix(scope.wrapper).unwrap_or(name).to_owned();
    Arranged { name, shape, parts }
}

fn row_count(shape: &[u64]) -> u64 {
    shape.first().copied().unwrap_or(1)
}

fn rows(tensor: &str, rows: Range<u64>, order: RowOrder) -> Rows {
    Rows { tensor: tensor.to_owned(), rows, order }
}

impl NameRule {
    /// The last segment of a tensor of a layer; empty for a tensor by itself.
    fn leaf<'a>(&self, rest: &'a str) -> Option<&'a str> {
        match self.is_layer {
            true => rest.strip_prefix('.').filter(|leaf| !leaf.is_empty() && !leaf.contains('.')),
            false => rest.is_empty().then_some(""),
        }
    }

    fn named(&self, start: &str, leaf: &str) -> String {
        if self.is_layer { format!("{start}.{leaf}") } else { start.to_owned() }
    }

    /// Whether the halves of a tensor's rows change places.
    ///
    /// - `weight`: shape of the weight of the layer
    fn swaps(&self, weight: Option<&[u64]>) -> bool {
        match self.rows.halves {
            Halves::Same => false,
            Halves::Swapped => true,
            Halves::SwappedIfPair => match weight {
                Some([rows, cols, ..]) => *rows == cols.saturating_mul(2),
                Some(_) | None => false,
            },
        }
    }

    /// Rows of a group in each of which the order is another one.
    fn head_rows(&self, tensor: &str, rows: u64, said: &dyn Said) -> Result<Option<u64>, TranslationError> {
        let Some(key) = &self.rows.heads else { return Ok(None) };
        let unknown = || TranslationError::Heads { tensor: tensor.to_owned(), key: key.clone() };
        let heads = said.number(key).filter(|heads| *heads > 0).ok_or_else(unknown)?;
        match rows.is_multiple_of(heads.saturating_mul(2)) {
            true => Ok(Some(rows / heads)),
            false => Err(TranslationError::Uneven { tensor: tensor.to_owned(), rows }),
        }
    }
}

/// The weight beside a tensor of a layer.
fn weight_beside<'a>(tensor: &str, leaf: &str, shapes: &Shapes<'a>) -> Option<&'a [u64]> {
    let layer = tensor.strip_suffix(leaf)?;
    shapes.shape(&format!("{layer}weight"))
}

/// One tensor of parts.
fn joined(
    name: String,
    parts: &[&str],
    rule: &NameRule,
    leaf: &str,
    scope: &Scope<'_>,
) -> Result<Arranged, TranslationError> {
    let shape_of = |part: &str| scope.shapes.shape(part).unwrap_or_default();
    let first = shape_of(parts[0]);
    let mut count = 0_u64;
    let mut made_of = vec![];
    for part in parts {
        let shape = shape_of(part);
        let is_alike = shape.get(1..) == first.get(1..);
        if parts.len() > 1 && (!is_alike || shape.is_empty()) {
            let (part, found) = ((*part).to_owned(), shape.to_vec());
            let (first, expected) = (parts[0].to_owned(), first.to_vec());
            return Err(TranslationError::Shape { part, found, first, expected });
        }
        let rows = row_count(shape);
        count = count.saturating_add(rows);
        made_of.extend(taken(part, 0..rows, rule, leaf, scope, false)?);
    }
    let mut shape = first.to_vec();
    if let Some(rows) = shape.first_mut() {
        *rows = count;
    }
    Ok(Arranged { name, shape, parts: made_of })
}

/// Rows of a tensor as the other dialect has them.
///
/// - `is_back`: whether they are those of the model's own
fn taken(
    tensor: &str,
    range: Range<u64>,
    rule: &NameRule,
    leaf: &str,
    scope: &Scope<'_>,
    is_back: bool,
) -> Result<Vec<Rows>, TranslationError> {
    let count = range.end - range.start;
    if rule.swaps(weight_beside(tensor, leaf, scope.shapes)) {
        if !count.is_multiple_of(2) {
            return Err(TranslationError::Uneven { tensor: tensor.to_owned(), rows: count });
        }
        let middle = range.start + count / 2;
        let halves = [middle..range.end, range.start..middle];
        return Ok(halves.map(|half| rows(tensor, half, RowOrder::AsStored)).into());
    }
    let order = match rule.head_rows(tensor, count, scope.said)? {
        None => RowOrder::AsStored,
        Some(head) if is_back => RowOrder::Interleaved(head),
        Some(head) => RowOrder::EvenFirst(head),
    };
    Ok(vec![rows(tensor, range, order)])
}

/// The parts of one of the model's own tensors; `None` where its rows are not so many.
fn parted(
    name: &str,
    rule: &NameRule,
    numbers: &Numbers,
    leaf: &str,
    stride: u64,
    scope: &Scope<'_>,
) -> Option<Vec<Arranged>> {
    let shape = scope.shapes.shape(name)?;
    let rows = row_count(shape);
    let parts = rule.theirs.len();
    let counts = match parts {
        1 => vec![rows],
        _ => {
            let weight = weight_beside(name, leaf, scope.shapes).unwrap_or(shape);
            let width = weight.get(1).copied().unwrap_or(0);
            let square = rule.rows.square;
            let rest = rows.checked_sub(width.checked_mul(square as u64)?)?;
            let others = (parts - square) as u64;
            if !rest.is_multiple_of(others) {
                return None;
            }
            (0..parts).map(|part| if part < square { width } else { rest / others }).collect()
        }
    };
    let mut at = 0;
    let tensors = rule.theirs.iter().zip(counts).map(|(theirs, count)| {
        let theirs = rule.named(&theirs.write(numbers, stride)?, leaf);
        let made_of = taken(name, at..at + count, rule, leaf, scope, true).ok()?;
        at += count;
        let mut shape = shape.to_vec();
        if let Some(rows) = shape.first_mut() {
            *rows = count;
        }
        Some(Arranged { name: format!("{}{theirs}", scope.new_prefix), shape, parts: made_of })
    });
    tensors.collect()
}

impl Stride {
    /// Blocks of a level, counted among the names of the dialect.
    fn in_theirs(&self, scope: &Scope<'_>) -> u64 {
        let blocks = numbers(&self.theirs, scope).max();
        blocks.and_then(|last| last.checked_add(2)).unwrap_or(1)
    }

    /// The same among the model's own: the number of the first block that ends a level.
    fn in_ours(&self, scope: &Scope<'_>) -> u64 {
        numbers(&self.ours, scope).min().unwrap_or(u64::MAX)
    }
}

/// The numbers of all names that begin with a template of one number.
fn numbers<'a>(template: &'a NameTemplate, scope: &'a Scope<'_>) -> impl Iterator<Item = u64> + 'a {
    let bare = scope.shapes.names().filter_map(|name| name.strip_prefix(scope.prefix));
    let found = bare.filter_map(|name| template.match_start(name, 0));
    found.filter_map(|(_, numbers)| numbers.get("i").copied())
}
