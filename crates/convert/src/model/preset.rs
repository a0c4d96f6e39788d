//! Presets: which layers a family of models keeps in its own precision, and why. Read from
//! `presets/*.toml`.

use std::fmt;

use roundwise_layout::Layout;
use serde::Deserialize;

use crate::model::architecture::Architecture;
use crate::model::pattern::LayerPattern;
use crate::model::shapes::Shapes;

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
    /// Families of transformers that the rules are for, in servers' files.
    pub model_types: Vec<String>,
    /// Layers of one module that servers multiply by as if they were one, by the last part of their
    /// names: what all weights of a tensor share is to be the same in them.
    pub fused: Vec<Vec<String>>,
    /// Layers whose columns servers share out over devices, by the last part of their names. Of all
    /// others it is the rows.
    pub split_by_columns: Vec<String>,
    /// What programs call the weights of a layer, in servers' files; nothing where that is not known.
    pub layer_names: Vec<LayerNames>,
    /// What programs look for in such a model, in servers' files; nothing where that is not known.
    pub family: FamilyRules,
    /// Banks of experts that servers read in codes, by the last part of their names: those of one module alike. In plain
    /// numbers each of their matrices lies transposed, with inputs as rows.
    pub coded_banks: Vec<String>,
    pub(super) architectures: Vec<Architecture>,
}

/// Names of the weights of a layer.
#[derive(Debug, Clone)]
pub struct LayerNames {
    /// Names behind the number of the layer.
    pub names: LayerPattern,
    /// The families of transformers that have them.
    pub rule: FamilyRule,
}

/// What programs look for in models of some families of transformers.
#[derive(Debug, Clone, Default)]
pub struct FamilyRules {
    /// Beginnings of the names of the part that writes text.
    pub text_starts: Vec<FamilyRule>,
    /// What stands behind them, outside of the layers.
    pub model_parts: Vec<FamilyRule>,
    /// What further stands outside of the layers in some files, by whole parts of names.
    pub outside_names: Vec<LayerPattern>,
    /// Attention, and what comes after it: a layer has all modules of one of the rules of each.
    pub layer_forms: [Vec<FamilyRule>; 2],
    /// Other modules that every layer has.
    pub layer_parts: Vec<FamilyRule>,
    /// Modules of layers that have a bias.
    pub biases: Vec<FamilyRule>,
    /// Families whose heads have a size of their own where the configuration names none.
    pub own_head_size: Vec<String>,
    /// Families with experts in some of their layers; those of all others have none.
    pub with_experts: Vec<String>,
    /// Modules that some layer of such a model has, and that tell it from models of other families.
    pub marks: Vec<FamilyRule>,
    /// What rows and columns of matrices of layers count.
    pub sizes: Vec<MatrixSizes>,
    /// What modules of transformers are called where files have other names.
    pub module_names: Vec<ModuleName>,
    /// Families whose banks of experts, where these are kept, transformers cannot open beside codes.
    pub without_kept_banks: Vec<String>,
}

/// A part of names that modules of transformers have otherwise than files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleName {
    /// What a name in the file begins with, or has inside where it begins with a dot.
    pub from: String,
    /// What stands there in the name of the module.
    pub to: String,
    /// The families that have it; all where none is named.
    #[serde(default)]
    pub model_types: Vec<String>,
}

impl ModuleName {
    /// Returns the name of the module of a layer, where it differs so.
    fn renamed(&self, layer: &str) -> Option<String> {
        match self.from.strip_prefix('.') {
            Some(_) => layer.contains(&self.from).then(|| layer.replacen(&self.from, &self.to, 1)),
            None => Some(format!("{}{}", self.to, layer.strip_prefix(&self.from)?)),
        }
    }
}

/// What rows and columns of some matrices of a layer count.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixSizes {
    /// Names behind the number of the layer, with `N` for that of an expert.
    pub names: Vec<String>,
    /// What rows count.
    pub rows: Size,
    /// What columns count.
    pub cols: Size,
}

/// What a dimension of a matrix of a layer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// The numbers of a token between layers.
    Hidden,
    /// Those of all heads.
    Heads,
    /// Those of the heads that have keys and values.
    KeyValueHeads,
    /// Those inside the MLP.
    Inner,
    /// The same, of two matrices that lie below each other.
    TwiceInner,
    /// Those inside an expert.
    InnerOfExpert,
    /// Experts.
    Experts,
}

/// Names of some families of transformers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyRule {
    /// The names.
    pub names: Vec<String>,
    /// The families that have them; all where none is named.
    #[serde(default)]
    pub model_types: Vec<String>,
    /// Families that do not have them.
    #[serde(default)]
    pub unless: Vec<String>,
    /// The entry of the configuration that switches them on, if one does.
    pub key: Option<String>,
    /// Whether they are on where the configuration does not have the entry.
    #[serde(default)]
    pub is_on: bool,
}

impl FamilyRule {
    /// Returns whether the rule is about a model.
    ///
    /// - `families`: those of the model and of its part that writes text
    pub(crate) fn is_of(&self, families: &[&str]) -> bool {
        let is_meant = self.model_types.is_empty() || names_one_of(&self.model_types, families);
        is_meant && !names_one_of(&self.unless, families)
    }
}

/// Returns whether a list names the family of a model, or that of its part that writes text.
pub(crate) fn names_one_of(list: &[String], families: &[&str]) -> bool {
    list.iter().any(|it| families.contains(&it.as_str()))
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
    /// What programs do with the weight.
    pub read_as: ReadAs,
}

/// What programs do with a weight that a rule keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadAs {
    /// A layer multiplies by it, and reads codes as others do.
    #[default]
    Layer,
    /// A table whose rows are looked up.
    Table,
    /// Numbers of a module that knows no codes.
    Numbers,
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

impl Preset {
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
                // Beside it under the same prefix: a checkpoint may hold one encoder that needs the
                // tensor and one that does not.
                let sibling = format!("{}{}", &name[..at], rule.beside);
                shapes.starting_with(&sibling).next().is_some()
            })
        };
        self.remove.iter().find(applies).map(|rule| rule.reason.as_str())
    }

    /// Returns whether programs look for a weight of a layer in a model of a family.
    ///
    /// - `name`: what stands behind the number of the layer, without `.weight`
    /// - `families`: those of the model and of its part that writes text
    pub(crate) fn has_layer_name(&self, name: &str, families: &[&str]) -> bool {
        let is_of = |rule: &FamilyRule| rule.is_of(families);
        let parts = self.family.layer_parts.iter().filter(|rule| is_of(rule));
        let mut names = self.layer_names.iter().filter(|it| is_of(&it.rule));
        parts.flat_map(|rule| &rule.names).any(|part| part == name)
            || names.any(|it| it.names.matches(name))
    }

    /// Returns what transformers calls the module of a layer, where files have another name for it.
    ///
    /// - `families`: those of the model and of its part that writes text
    pub(crate) fn modules_of(&self, layer: &str, families: &[&str]) -> Vec<String> {
        let is_of = |name: &&ModuleName| {
            name.model_types.is_empty() || names_one_of(&name.model_types, families)
        };
        let names = self.family.module_names.iter().filter(is_of);
        names.filter_map(|name| name.renamed(layer)).collect()
    }

    /// Returns the layout in which servers read the family's banks of experts in codes, if they do.
    pub(crate) fn layout_of_banks(&self) -> Option<Layout> {
        (!self.coded_banks.is_empty()).then_some(Layout::Mxfp4)
    }

    /// Returns whether servers read codes of a bank of experts.
    pub(crate) fn has_coded_bank(&self, name: &str) -> bool {
        let last = name.rsplit('.').next().unwrap_or(name);
        self.coded_banks.iter().any(|bank| bank == last)
    }

    /// Returns whether a loader tells the model apart by the stored shape of this layer.
    pub fn is_probe(&self, layer: &str) -> bool {
        self.probes.iter().any(|probe| probe.matches(layer))
    }
}

impl fmt::Debug for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Preset({})", self.name)
    }
}
