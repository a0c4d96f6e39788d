//! Entries of what a recipe may name, as other programs and pages are told of them.

use roundwise_layout::{Layout, OpenerKind, Servers, opener};
use roundwise_rounding::{METHODS, Method, SettingOfMethod};
use roundwise_scheme::{CATALOG, Scheme};
use serde::Serialize;

use crate::model::{Architecture, KeepRule, Preset};
use crate::recipe::min_size::default_min_size;

/// A scheme of the catalogue.
#[derive(Clone, Debug, Serialize)]
pub struct SchemeEntry {
    /// Its name.
    pub name: &'static str,
    /// What codes stand for and what is stored beside them, in one line.
    pub summary: String,
    /// The scheme that a reader takes its codes for.
    pub read_as: String,
    /// Bits that one weight takes, scales not counted.
    pub bits: usize,
    /// The program that opens it in its own layout, and the servers that read it in theirs.
    pub opened_by: String,
    /// When to choose it.
    pub when: &'static str,
}

impl SchemeEntry {
    /// Lists the catalogue.
    pub fn all() -> Vec<Self> {
        let entry = |entry: &roundwise_scheme::CatalogEntry| Self {
            name: entry.name,
            summary: entry.summary(),
            read_as: entry.scheme.read_as().to_string(),
            bits: entry.bits(),
            opened_by: opened_by(entry.scheme),
            when: entry.when,
        };
        CATALOG.iter().map(entry).collect()
    }
}

/// Names who opens a scheme: in its own layout, and servers in whichever of theirs most of them read.
fn opened_by(scheme: Scheme) -> String {
    let own = opener(Layout::default_for(scheme), scheme);
    let layouts = Layout::NAMES.iter().map(|(_, layout)| *layout);
    let served = layouts.filter(|layout| layout.is_for_servers());
    let served = served.filter(|layout| scheme.has_scales() && layout.admits(scheme).is_ok());
    let served = served.map(|layout| opener(layout, scheme));
    let servers = served.filter_map(|opener| match opener.kind {
        OpenerKind::Servers(servers) => Some((servers != Servers::ButTransformers, opener.name)),
        OpenerKind::StockComfyUi | OpenerKind::CustomNodes | OpenerKind::Nobody { .. } => None,
    });
    // The first of those with transformers, where there is one.
    let servers = servers.reduce(|best, next| if next.0 && !best.0 { next } else { best });
    match (servers, own.kind) {
        (Some((_, servers)), OpenerKind::StockComfyUi | OpenerKind::CustomNodes) => {
            format!("{}; {servers}", own.name)
        }
        (Some((_, servers)), OpenerKind::Servers(_) | OpenerKind::Nobody { .. }) => {
            servers.to_owned()
        }
        (None, _) => own.name.to_owned(),
    }
}

/// A method with the values of its settings.
#[derive(Clone, Debug, Serialize)]
pub struct MethodEntry {
    /// Its name.
    pub name: &'static str,
    /// A description in one line.
    pub summary: &'static str,
    /// Its objective.
    pub objective: &'static str,
    /// Its solver.
    pub solver: &'static str,
    /// Fewest elements of a weight that it rounds, where a recipe says nothing.
    pub min_size: u64,
    /// The settings that change something of it.
    pub settings: Vec<SettingOfMethod>,
}

impl MethodEntry {
    /// Describes a method.
    pub fn new(method: &Method) -> Self {
        let options = method.options();
        Self {
            name: method.name,
            summary: method.summary,
            objective: options.objective.name(),
            solver: options.solver.name(),
            min_size: default_min_size(method.name),
            settings: method.settings(),
        }
    }

    /// Lists the methods.
    pub fn all() -> Vec<Self> {
        METHODS.iter().map(Self::new).collect()
    }
}

/// A preset, and what its models are recognised by.
#[derive(Clone, Debug, Serialize)]
pub struct PresetEntry {
    /// Its name.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [String],
    /// The models that it is for.
    #[serde(rename = "for")]
    pub title: &'static str,
    /// Why such a model is not converted, if so.
    pub refuses: Option<&'static str>,
    /// Which layers keep their precision, and why; those of `base` come on top.
    pub keeps: Vec<KeptEntry>,
    /// The architectures that choose it.
    pub recognises: Vec<ArchitectureEntry>,
}

/// Layers that a preset keeps.
#[derive(Clone, Debug, Serialize)]
pub struct KeptEntry {
    /// Their names, as a regular expression over whole segments.
    pub layers: &'static str,
    /// The reason.
    pub because: &'static str,
}

/// An architecture, and the tensors that tell it; see [`Architecture::conditions`].
#[derive(Clone, Debug, Serialize)]
pub struct ArchitectureEntry {
    /// Short name, unique among all presets.
    pub id: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Conditions that a file must meet.
    pub when: Vec<String>,
    /// Conditions that it must not meet.
    pub unless: Vec<String>,
}

impl PresetEntry {
    /// Describes a preset.
    pub fn new(preset: &'static Preset) -> Self {
        let architecture = |architecture: &'static Architecture| ArchitectureEntry {
            id: &architecture.id,
            title: &architecture.title,
            when: architecture.conditions(),
            unless: architecture.exceptions(),
        };
        let kept = |rule: &'static KeepRule| KeptEntry {
            layers: rule.layers.as_str(),
            because: &rule.reason,
        };
        Self {
            name: &preset.name,
            aliases: &preset.aliases,
            title: &preset.title,
            refuses: preset.refuse.as_deref(),
            keeps: preset.keep.iter().map(kept).collect(),
            recognises: preset.recognises().map(architecture).collect(),
        }
    }

    /// Lists the presets.
    pub fn all() -> Vec<Self> {
        Preset::all().iter().map(Self::new).collect()
    }
}
