//! Tensors that differ in numbers of their names alone are of one kind.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::decision::PlannedTensor;
use crate::plan::plan::Plan;

/// Tensors of one pattern and shape of which the same becomes, for the same reason.
#[derive(Clone, Debug, Serialize)]
pub struct TensorKind {
    /// Name of the layer, with `#` for numbers.
    pub pattern: String,
    /// Expression that matches these layers and no others.
    pub regex: String,
    /// Shape of each.
    pub shape: Vec<u64>,
    /// Their number.
    pub count: usize,
    /// Their bytes in the input.
    pub bytes: u64,
    /// Their bytes in the output.
    pub output_bytes: u64,
    /// What they become, in words.
    pub becomes: String,
    /// Their scheme, where they become codes.
    pub scheme: Option<String>,
    /// The reason, in words.
    pub reason: String,
    #[serde(skip)]
    layers: Vec<String>,
}

/// The fields of a planned tensor that a plan adds to its own.
#[derive(Clone, Copy, Debug)]
pub struct TensorOfKind {
    /// Bytes in the input.
    pub bytes: u64,
    /// Bytes in the output.
    pub output_bytes: u64,
    /// Index of its kind.
    pub kind: usize,
}

impl Plan {
    /// Sorts the tensors into kinds, in the order of their first ones; also gives what each tensor adds to its
    /// kind, in the order of the plan.
    pub fn kinds(&self) -> (Vec<TensorKind>, Vec<TensorOfKind>) {
        let mut kinds: Vec<TensorKind> = vec![];
        let mut found = BTreeMap::new();
        let mut of_pattern = BTreeMap::<String, usize>::new();
        let mut tensors = vec![];
        for planned in &self.tensors {
            let kind = TensorKind::of(planned);
            *of_pattern.entry(kind.pattern.clone()).or_default() += 1;
            // Shape, outcome and reason as well: layers of one pattern may be decided about in
            // different ways.
            let key = (
                kind.pattern.clone(),
                kind.shape.clone(),
                kind.becomes.clone(),
                kind.reason.clone(),
            );
            let index = *found.entry(key).or_insert_with(|| {
                kinds.push(kind);
                kinds.len() - 1
            });
            let (bytes, output_bytes) = (planned.header.stored_bytes(), self.output_bytes(planned));
            let kind = &mut kinds[index];
            kind.count += 1;
            kind.bytes += bytes;
            kind.output_bytes += output_bytes;
            kind.layers.push(planned.layer().to_owned());
            tensors.push(TensorOfKind { bytes, output_bytes, kind: index });
        }
        for kind in &mut kinds {
            let is_whole = of_pattern.get(&kind.pattern) == Some(&kind.count);
            kind.regex = expression_of(&kind.layers, is_whole);
        }
        (kinds, tensors)
    }
}

impl TensorKind {
    /// Returns the kind of a tensor, without counting it.
    fn of(planned: &PlannedTensor) -> Self {
        Self {
            pattern: pattern(planned.layer()),
            regex: String::new(),
            shape: planned.header.shape.clone(),
            count: 0,
            bytes: 0,
            output_bytes: 0,
            becomes: planned.becomes(),
            scheme: planned.scheme().map(|scheme| scheme.to_string()),
            reason: planned.because(),
            layers: vec![],
        }
    }
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// `blocks.#.attn.qkv` for `blocks.17.attn.qkv`.
fn pattern(layer: &str) -> String {
    let part = |part| if is_number(part) { "#" } else { part };
    layer.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Returns the expression that matches a layer and those whose names differ from it in numbers.
pub(crate) fn expression(layer: &str) -> String {
    let part = |part| if is_number(part) { r"\d+".to_owned() } else { regex::escape(part) };
    format!("^{}$", layer.split('.').map(part).collect::<Vec<_>>().join(r"\."))
}

/// Returns the expression that matches these layers, of one pattern, and no others.
///
/// - `is_whole`: whether every layer of the pattern is meant
fn expression_of(layers: &[String], is_whole: bool) -> String {
    // A part that is named `#` has the pattern of a number, and `\d+` would not match it.
    let is_told = is_whole && layers.iter().all(|layer| !layer.contains('#'));
    match layers.first() {
        Some(first) if is_told => expression(first),
        _ => {
            let mut names: Vec<String> = layers.iter().map(|layer| regex::escape(layer)).collect();
            names.dedup();
            format!("^(?:{})$", shared(&names))
        }
    }
}

/// Returns an alternation with the common beginning and end written once.
fn shared(names: &[String]) -> String {
    // Split at dots, so that no escape is cut in two.
    let parts: Vec<Vec<&str>> = names.iter().map(|name| name.split(r"\.").collect()).collect();
    let Some((first, others)) = parts.split_first() else { return String::new() };
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(0);
    let begin = (0..shortest).take_while(|&at| others.iter().all(|it| it[at] == first[at])).count();
    let from_end = |parts: &[&str], at: usize| parts[parts.len() - 1 - at].to_owned();
    let end = (0..shortest - begin)
        .take_while(|&at| others.iter().all(|it| from_end(it, at) == from_end(first, at)))
        .count();
    if others.is_empty() || begin + end == 0 {
        return names.join("|");
    }
    let middle = |parts: &Vec<&str>| parts[begin..parts.len() - end].join(r"\.");
    let middles = parts.iter().map(middle).collect::<Vec<_>>().join("|");
    let (head, tail) = (&first[..begin], &first[first.len() - end..]);
    let middle = format!("(?:{middles})");
    [head, &[middle.as_str()], tail].concat().join(r"\.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_between_dots_are_of_one_pattern() {
        assert_eq!(pattern("blocks.17.attn2.q8.3"), "blocks.#.attn2.q8.#");
        assert_eq!(pattern("x"), "x");
    }

    #[test]
    fn expressions_match_the_layers_of_the_kind_alone() {
        let layers =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(expression_of(&layers(&["b.0.q-k", "b.1.q-k"]), true), r"^b\.\d+\.q\-k$");
        assert_eq!(expression_of(&layers(&["b.0.q", "b.12.q"]), false), r"^(?:b\.(?:0|12)\.q)$");
        assert_eq!(expression_of(&layers(&["b.0.q"]), false), r"^(?:b\.0\.q)$");
        assert_eq!(expression_of(&layers(&["0.1", "1.0"]), false), r"^(?:0\.1|1\.0)$");
        assert_eq!(expression_of(&layers(&["b.#"]), true), r"^(?:b\.\#)$");
    }
}
