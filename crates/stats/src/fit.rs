use std::path::{Path, PathBuf};

use roundwise_tensor_file::Checkpoint;

use crate::{LayerShape, Statistics, StatsError, StatsErrorKind as Kind, hugging_face_name};

/// The layers of a weight file, paired with statistics.
///
/// Names are compared as they are. Where that finds nothing, two spellings of the same model are
/// tried: names that differ by one prefix on either side (`model.diffusion_model.` in a checkpoint,
/// none in a diffusion model by itself), and llama.cpp's names. The spelling under which the most
/// layers fit counts for all of them.
#[derive(Clone, Debug)]
pub struct Fit {
    statistics: PathBuf,
    /// (layer of the weight file, module of the statistics), sorted.
    pairs: Vec<(String, String)>,
    misfits: Vec<Misfit>,
}

/// Statistics that no layer of the weight file can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The layer that was observed.
    pub expected: LayerShape,
    /// The layer of that name in the weight file.
    pub found: Option<LayerShape>,
}

/// A rule by which names of statistics become names of the weight file.
#[derive(Clone, Debug)]
enum Spelling {
    Same,
    HuggingFace,
    With(String),
    Without(String),
}

/// Returns the layers of a weight file: every tensor `module.weight` of two or more dimensions,
/// sorted.
pub fn layers_of(checkpoint: &Checkpoint) -> Vec<LayerShape> {
    let of = |tensor: &roundwise_tensor_file::TensorHeader| {
        LayerShape::of_weight(&tensor.name, &tensor.shape)
    };
    let mut layers: Vec<LayerShape> = checkpoint.tensors().iter().filter_map(of).collect();
    layers.sort();
    layers
}

impl Fit {
    /// Compares statistics with a model's layers ([`layers_of`]; of a quantized file, those of the
    /// decoded weights).
    pub fn of(statistics: &Statistics, layers: &[LayerShape]) -> Self {
        let mut sorted: Vec<&LayerShape> = layers.iter().collect();
        sorted.sort();
        let mut best = Self::spelt(statistics, &sorted, &Spelling::Same);
        // Only where no name fits as it is: a prefix that fits by chance must not win over names that are right.
        if best.pairs.is_empty() {
            for spelling in spellings(statistics.layers(), &sorted) {
                let other = Self::spelt(statistics, &sorted, &spelling);
                if other.pairs.len() > best.pairs.len() {
                    best = other;
                }
            }
        }
        best
    }

    fn spelt(statistics: &Statistics, layers: &[&LayerShape], spelling: &Spelling) -> Self {
        let mut pairs = Vec::new();
        let mut misfits = Vec::new();
        for expected in statistics.layers() {
            let name = spelling.apply(&expected.module);
            let found = name.and_then(|name| find(layers, &name));
            match found {
                Some(found) if found.agrees_with(expected) => {
                    pairs.push((found.module.clone(), expected.module.clone()));
                }
                _ => misfits.push(Misfit { expected: expected.clone(), found: found.cloned() }),
            }
        }
        pairs.sort();
        Self { statistics: statistics.path().to_owned(), pairs, misfits }
    }

    /// Returns the module whose statistics a layer of the weight file uses.
    pub fn module_for(&self, layer: &str) -> Option<&str> {
        let place = self.pairs.binary_search_by(|pair| pair.0.as_str().cmp(layer)).ok()?;
        Some(&self.pairs[place].1)
    }

    /// Returns the (layer of the weight file, module of the statistics) of all that fit, sorted.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// Returns the statistics that no layer can use.
    pub fn misfits(&self) -> &[Misfit] {
        &self.misfits
    }

    /// Refuses statistics of another model: all of them must fit.
    ///
    /// # Errors
    /// [`Kind::AnotherModel`] with the first that differ.
    pub fn require_all(&self) -> Result<(), StatsError> {
        const SHOWN: usize = 5;
        if self.misfits.is_empty() {
            return Ok(());
        }
        let first = self.misfits.iter().take(SHOWN).map(Misfit::to_string).collect();
        let (differing, layers) = (self.misfits.len(), self.misfits.len() + self.pairs.len());
        let path: &Path = &self.statistics;
        Err(Kind::AnotherModel { layers, differing, first }.at(path))
    }
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { expected, found } = self;
        let found = found.as_ref().map_or("not in the model".to_owned(), |found| {
            format!("{} in the model", found.extents())
        });
        write!(out, "`{}`: {} in the statistics, {found}", expected.module, expected.extents())
    }
}

impl Spelling {
    fn apply(&self, module: &str) -> Option<String> {
        match self {
            Self::Same => Some(module.to_owned()),
            Self::HuggingFace => hugging_face_name(module),
            Self::With(prefix) => Some(format!("{prefix}{module}")),
            Self::Without(prefix) => module.strip_prefix(prefix.as_str()).map(str::to_owned),
        }
    }
}

/// Finds the spellings that make the first module's name that of some layer.
fn spellings(modules: &[LayerShape], layers: &[&LayerShape]) -> Vec<Spelling> {
    let Some(first) = modules.first() else { return Vec::new() };
    // By the first module alone: all pairs of both lists would be too many, and a spelling that
    // fits one module is tried on all.
    let mut spellings = vec![Spelling::HuggingFace];
    for layer in layers {
        if let Some(prefix) = prefix_before(&layer.module, &first.module) {
            spellings.push(Spelling::With(prefix));
        } else if let Some(prefix) = prefix_before(&first.module, &layer.module) {
            spellings.push(Spelling::Without(prefix));
        }
    }
    // A model has few prefixes; a file made to have thousands would cost their square.
    spellings.truncate(16);
    spellings
}

/// Returns the prefix that one name has before another: `a.b.` for `a.b.c.d` and `c.d`.
fn prefix_before(long: &str, short: &str) -> Option<String> {
    // Whole parts of a name only: `up_proj` is no end of `mlp.gate_up_proj`.
    let prefix = long.strip_suffix(short)?;
    prefix.ends_with('.').then(|| prefix.to_owned())
}

fn find<'a>(layers: &[&'a LayerShape], module: &str) -> Option<&'a LayerShape> {
    let place = layers.binary_search_by(|layer| layer.module.as_str().cmp(module)).ok()?;
    Some(layers[place])
}
