//! Presets: which layers a family of models keeps in its own precision, and why. Read from
//! `presets/*.toml`.

use std::fmt;

use serde::Deserialize;
use thiserror::Error;

use crate::model::architecture::{Architecture, Shapes};
use crate::model::catalog::CATALOG;
use crate::model::pattern::LayerPattern;

/// Rules for one family of models.
pub struct Preset {
    /// The name of its file.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Other names that find it: flags of older tools.
    pub aliases: Vec<String>,
    /// The task of such a model.
    pub role: Role,
    /// Why no layer of such a model may be converted, if so.
    pub refuse: Option<String>,
    /// Layers that keep their precision. Those of [`Preset::base`] come on top.
    pub keep: Vec<KeepRule>,
    /// Tensors that the output leaves out.
    pub remove: Vec<RemoveRule>,
    /// Layers whose stored shape a loader looks at: never to be packed or padded.
    pub probes: Vec<LayerPattern>,
    pub(super) architectures: Vec<Architecture>,
}

/// The task of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Denoises images, sound, video or shapes.
    DiffusionModel,
    /// Reads text: encoders, language models, sentence encoders.
    TextEncoder,
    /// Turns latents into pixels or sound, and back.
    Vae,
    /// Cannot be told.
    Unknown,
}

/// Layers to keep, and why.
#[derive(Debug, Clone)]
pub struct KeepRule {
    /// Which layers.
    pub layers: LayerPattern,
    /// One line for people, without a full stop.
    pub reason: String,
    /// Who chose them.
    pub origin: Origin,
}

/// Who chose a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// In the published list of an earlier tool, used by people.
    Published,
    /// Reasoned from the shape of the model; not measured.
    Derived,
}

/// Tensors to leave out of the output, and why.
#[derive(Debug, Clone)]
pub struct RemoveRule {
    /// Which tensors.
    pub tensors: LayerPattern,
    /// Only where tensors that start so stand beside them.
    pub beside: String,
    /// One line for people, without a full stop.
    pub reason: String,
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no preset is called `{name}`; there are: {}", .known.join(", "))]
pub struct UnknownPreset {
    /// The unknown name.
    pub name: String,
    /// All names and aliases, sorted.
    pub known: Vec<&'static str>,
}

impl Preset {
    /// Returns all presets by name.
    pub fn all() -> &'static [Self] {
        &CATALOG.presets
    }

    /// Returns the preset with this name or alias; upper case and `-` for `_` are accepted.
    ///
    /// # Errors
    /// [`UnknownPreset`] with all names there are.
    pub fn by_name(name: &str) -> Result<&'static Self, UnknownPreset> {
        let wanted = name.to_lowercase().replace('-', "_");
        let is_called = |preset: &&Self| preset.names().any(|name| name == wanted);
        Self::all().iter().find(is_called).ok_or_else(|| {
            let mut known: Vec<_> = Self::all().iter().flat_map(Self::names).collect();
            known.sort_unstable();
            UnknownPreset { name: name.to_owned(), known }
        })
    }

    /// Returns the rules that hold for every model.
    pub fn base() -> &'static Self {
        Self::built_in("base")
    }

    /// Returns its name, then its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    /// Returns whether such a model reads text.
    pub fn is_text_encoder(&self) -> bool {
        self.role == Role::TextEncoder
    }

    /// Returns the first rule of this preset alone, without [`Preset::base`], that keeps a layer.
    pub fn keep_rule(&self, layer: &str) -> Option<&KeepRule> {
        self.keep.iter().find(|rule| rule.layers.matches(layer))
    }

    /// Returns why the output leaves a tensor out.
    ///
    /// - `shapes`: all tensors of the file
    pub fn remove_reason(&self, name: &str, shapes: &Shapes<'_>) -> Option<&str> {
        let applies = |rule: &&RemoveRule| {
            rule.tensors.starts(name).any(|at| {
                let sibling = format!("{}{}", &name[..at], rule.beside);
                shapes.starting_with(&sibling).next().is_some()
            })
        };
        self.remove.iter().find(applies).map(|rule| rule.reason.as_str())
    }

    /// Returns whether a loader tells the model apart by the stored shape of this layer.
    pub fn is_probe(&self, layer: &str) -> bool {
        self.probes.iter().any(|probe| probe.matches(layer))
    }

    /// Returns the models that this preset is picked for, in the order in which they are tried.
    pub fn recognises(&self) -> impl Iterator<Item = &'static Architecture> {
        let rows = Self::architectures().filter(|(_, preset)| preset.name == self.name);
        rows.map(|(architecture, _)| architecture)
    }

    /// Returns all rows of the detection table in the order in which they are tried.
    pub fn architectures() -> impl Iterator<Item = (&'static Architecture, &'static Self)> {
        let row = |&(preset, index): &(usize, usize)| {
            let preset: &Self = &CATALOG.presets[preset];
            (&preset.architectures[index], preset)
        };
        CATALOG.rows.iter().map(row)
    }

    /// Returns a preset that the code itself relies on.
    pub(crate) fn built_in(name: &str) -> &'static Self {
        let preset = Self::all().iter().find(|preset| preset.name == name);
        preset.expect("presets/ holds every preset that the code names")
    }
}

impl fmt::Debug for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Preset({})", self.name)
    }
}
