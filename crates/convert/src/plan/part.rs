use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use roundwise_layout::layer_of;
use roundwise_tensor_file::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::decision::{Decision, PlannedTensor};
use crate::plan::provenance::Tool;
use crate::plan::run_facts::RunFacts;
use crate::recipe::{Recipe, Rounding};

/// The entry in the header of a part, about the part and the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartEntry {
    pub(crate) part: usize,
    pub(crate) of: usize,
    pub(crate) version: String,
    pub(crate) recipe: Value,
    /// Hash of the file of statistics, if there was one.
    pub(crate) statistics: Option<String>,
    /// The kind of device that learned rounding was computed on.
    pub(crate) device: Option<String>,
    /// Hash of the header of the merged file.
    pub(crate) header: String,
}

impl PartEntry {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialise")
    }
}

/// One of several parts of a model, each made by a machine of its own: `3/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: usize,
    count: usize,
}

/// More parts than any model has layers.
const MOST_PARTS: usize = 10_000;

impl Part {
    /// Returns part `number`, from 1, of `count`; `None` where there is no such part.
    pub fn new(number: usize, count: usize) -> Option<Self> {
        let is_there = (1..=count).contains(&number) && count <= MOST_PARTS;
        is_there.then_some(Self { number, count })
    }

    /// Returns its number, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// Returns the number of parts.
    pub fn count(self) -> usize {
        self.count
    }

    /// Returns the text for the name of the part's file, of one length for all parts:
    /// `part-03-of-16`.
    pub fn file_part(self) -> String {
        let digits = self.count.to_string().len();
        format!("part-{:0digits$}-of-{}", self.number, self.count)
    }

    /// Returns the tensors of this part. Layers stay whole; the most expensive ones are dealt out
    /// first, each to the part with the least work, so that all machines decide alike.
    pub(crate) fn tensors_of(
        self,
        tensors: &[PlannedTensor],
        rounding: Rounding,
    ) -> Vec<PlannedTensor> {
        // Machines see the same plan and no other's work: nothing here may depend on anything else.
        let mut costs = BTreeMap::<&str, u64>::new();
        for planned in tensors {
            let cost = costs.entry(layer_group(planned)).or_default();
            *cost = cost.saturating_add(cost_of(planned, rounding));
        }
        let mut layers: Vec<(&str, u64)> = costs.into_iter().collect();
        // Ties by name, so that every machine sorts alike.
        layers.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let mut loads = vec![0_u64; self.count];
        let mut mine = BTreeSet::new();
        for (layer, cost) in layers {
            // Largest first, each onto the least loaded part.
            // That is Graham's rule (1969), by which the largest load is at most 4/3 of the least
            // possible one. Of equal loads the first part counts.
            let least = (0..self.count).min_by_key(|&part| loads[part]).unwrap_or(0);
            loads[least] = loads[least].saturating_add(cost);
            if least + 1 == self.number {
                mine.insert(layer);
            }
        }
        let is_mine = |planned: &&PlannedTensor| mine.contains(layer_group(planned));
        tensors.iter().filter(is_mine).map(in_one_piece).collect()
    }
}

/// Returns a tensor whose memory has not been planned yet.
fn in_one_piece(planned: &PlannedTensor) -> PlannedTensor {
    let mut planned = planned.clone();
    // Bands follow from what one machine has to do, which is known after the parts are.
    planned.set_band_rows(None);
    planned
}

/// The facts that a part knows about the whole.
#[derive(Clone, Debug)]
pub(crate) struct PlannedPart {
    part: Part,
    recipe: Value,
    /// The tensors of all parts.
    pub(crate) whole: Vec<PlannedTensor>,
}

impl PlannedPart {
    pub(crate) fn new(part: Part, whole: Vec<PlannedTensor>, recipe: &Recipe) -> Self {
        let recipe = serde_json::to_value(recipe.file());
        let recipe = recipe.expect("texts and numbers always serialise");
        Self { part, recipe, whole }
    }

    pub(crate) fn is_first(&self) -> bool {
        self.part.number() == 1
    }

    /// Returns the entry of the part's header.
    pub(crate) fn entry(&self, whole: &Manifest, facts: Option<&RunFacts>) -> PartEntry {
        PartEntry {
            part: self.part.number(),
            of: self.part.count(),
            version: Tool::THIS.version.into_owned(),
            recipe: self.recipe.clone(),
            statistics: facts.and_then(|facts| facts.statistics.clone()),
            device: facts.and_then(|facts| facts.device.clone()),
            header: header_hash(whole),
        }
    }
}

/// Returns the group of a tensor: a weight, its bias and its scales stay together.
fn layer_group(planned: &PlannedTensor) -> &str {
    // By everything up to the last dot, so that biases and scales, which have no weight's name, go
    // along.
    let name = &planned.header.name;
    match name.rsplit_once('.') {
        Some((layer, _)) => layer,
        None => layer_of(name),
    }
}

fn cost_of(planned: &PlannedTensor, rounding: Rounding) -> u64 {
    // Times that a search goes over a weight, where copying goes over it once.
    const SEARCH: u64 = 100;
    match (&planned.decision, rounding) {
        (Decision::Quantize { .. }, Rounding::Learned(_)) => {
            planned.header.byte_len().saturating_mul(SEARCH)
        }
        // One more, so that tensors without elements are dealt out as well.
        _ => planned.header.byte_len() + 1,
    }
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.number, self.count)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, count) = text.split_once('/').unwrap_or_default();
        let part = number.parse().ok().zip(count.parse().ok());
        part.and_then(|(number, count)| Self::new(number, count)).ok_or_else(|| match part {
            Some((number, count)) if count <= MOST_PARTS && number > count => {
                format!("there is no part {number} of {count}; expected a part such as 3/16")
            }
            _ => format!("expected a part such as 3/16, of at most {MOST_PARTS}"),
        })
    }
}

pub(crate) fn header_hash(manifest: &Manifest) -> String {
    blake3::hash(manifest.header_bytes()).to_hex().to_string()
}
