//! All preset files, read once.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use roundwise_scheme::is_meant;
use serde::Deserialize;
use thiserror::Error;

use crate::model::architecture::Architecture;
use crate::model::condition::Condition;
use crate::model::dialect::Dialect;
use crate::model::kind::FileKind;
use crate::model::pattern::LayerPattern;
use crate::model::preset::{
    FamilyRule, FamilyRules, KeepRule, LayerNames, MatrixSizes, ModuleName, Origin, Preset, ReadAs,
    RemoveRule, Role,
};

/// Name and text of every `presets/*.toml`, by name.
static FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// The files are part of the program and are all read by the tests, so a broken one is our bug.
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| match Catalog::read(FILES) {
    Ok(catalog) => catalog,
    Err(error) => panic!("{error}"),
});

struct Catalog {
    presets: Vec<Preset>,
    /// The detection table by `order`: indices of a preset and of one of its architectures.
    rows: Vec<(usize, usize)>,
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no preset is called `{name}`{}\n  known: {}", is_meant(.name, .known.iter().copied()), .known.join(", "))]
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

    /// Returns the rules for a family of transformers, in servers' files.
    pub fn of_model_type(model_type: &str) -> Option<&'static Self> {
        Self::all().iter().find(|preset| preset.model_types.iter().any(|it| it == model_type))
    }

    /// Returns the rules for servers' files of any language model.
    pub fn served() -> &'static Self {
        Self::built_in("served")
    }

    /// Returns the rules that hold for every model.
    pub fn base() -> &'static Self {
        Self::built_in("base")
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

/// `presets/NAME.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetFile {
    title: String,
    role: Role,
    #[serde(default)]
    aliases: Vec<String>,
    /// Presets whose own rules are taken over, behind the ones here.
    #[serde(default)]
    include: Vec<String>,
    refuse: Option<String>,
    #[serde(default)]
    model_types: Vec<String>,
    #[serde(default)]
    fused: Vec<Vec<String>>,
    #[serde(default)]
    split_by_columns: Vec<String>,
    #[serde(default)]
    layer_names: Vec<FamilyRule>,
    #[serde(default)]
    text_starts: Vec<FamilyRule>,
    #[serde(default)]
    model_parts: Vec<FamilyRule>,
    #[serde(default)]
    outside_names: Vec<String>,
    #[serde(default)]
    attention: Vec<FamilyRule>,
    #[serde(default)]
    feed_forward: Vec<FamilyRule>,
    #[serde(default)]
    layer_parts: Vec<FamilyRule>,
    #[serde(default)]
    biases: Vec<FamilyRule>,
    #[serde(default)]
    own_head_size: Vec<String>,
    #[serde(default)]
    with_experts: Vec<String>,
    #[serde(default)]
    marks: Vec<FamilyRule>,
    #[serde(default)]
    sizes: Vec<MatrixSizes>,
    #[serde(default)]
    module_names: Vec<ModuleName>,
    #[serde(default)]
    without_kept_banks: Vec<String>,
    #[serde(default)]
    coded_banks: Vec<String>,
    #[serde(default)]
    probes: Vec<String>,
    #[serde(default)]
    keep: Vec<KeepTable>,
    #[serde(default)]
    remove: Vec<RemoveTable>,
    #[serde(default)]
    architecture: Vec<ArchitectureTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeepTable {
    layers: Vec<String>,
    reason: String,
    origin: Origin,
    #[serde(default)]
    read_as: ReadAs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveTable {
    tensors: Vec<String>,
    beside: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchitectureTable {
    order: u32,
    id: String,
    title: String,
    when: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
    kind: Option<FileKind>,
    dialect: Option<Dialect>,
    /// Why readers of this architecture alone take no codes.
    no_codes: Option<String>,
    /// Whether ComfyUI has a loader for it.
    #[serde(default = "yes")]
    comfyui: bool,
    /// Whether ComfyUI's modules of its banks of experts are `MoEExperts`.
    #[serde(default)]
    coded_banks: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Error)]
#[error("presets/{name}.toml: {what}")]
struct PresetError {
    name: String,
    what: What,
}

#[derive(Debug, Error)]
enum What {
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    #[error(transparent)]
    Pattern(#[from] regex::Error),
    #[error("{0}")]
    Condition(String),
    #[error("architecture `{0}` has no condition and would fit every file")]
    NoCondition(String),
    #[error("includes `{0}`, which is no preset or includes others itself")]
    Include(String),
}

impl Catalog {
    fn read(files: &[(&str, &str)]) -> Result<Self, PresetError> {
        let at = |name: &str| {
            let name = name.to_owned();
            move |what: What| PresetError { name, what }
        };
        let mut parsed = BTreeMap::new();
        for &(name, text) in files {
            let file: PresetFile = toml::from_str(text).map_err(|e| at(name)(e.into()))?;
            parsed.insert(name, file);
        }
        // Every file is parsed before one is resolved, since a preset may include the rules of any
        // other.
        let mut presets = Vec::new();
        for (name, file) in &parsed {
            presets.push(file.resolve(name, &parsed).map_err(at(name))?);
        }
        let mut rows: Vec<_> = presets
            .iter()
            .enumerate()
            .flat_map(|(index, preset)| (0..preset.architectures.len()).map(move |a| (index, a)))
            .collect();
        // Across all presets, because the first architecture whose conditions hold is the one that
        // counts.
        rows.sort_by_key(|&(preset, row): &(usize, usize)| {
            presets[preset].architectures[row].order
        });
        Ok(Self { presets, rows })
    }
}

impl PresetFile {
    fn resolve(&self, name: &str, all: &BTreeMap<&str, Self>) -> Result<Preset, What> {
        let mut preset = Preset {
            name: name.to_owned(),
            title: self.title.clone(),
            aliases: self.aliases.clone(),
            role: self.role,
            refuse: self.refuse.clone(),
            keep: Vec::new(),
            remove: Vec::new(),
            probes: Vec::new(),
            model_types: self.model_types.clone(),
            fused: Vec::new(),
            split_by_columns: Vec::new(),
            layer_names: Vec::new(),
            family: self.family_rules()?,
            coded_banks: Vec::new(),
            architectures: Vec::new(),
        };
        self.add_rules(&mut preset)?;
        // Of the families that need no more rules: others have parts of their own.
        for rule in &self.layer_names {
            for names in &rule.names {
                let (names, rule) = (LayerPattern::new(names)?, rule.clone());
                preset.layer_names.push(LayerNames { names, rule });
            }
        }
        // One level deep, so that the files themselves show whose rule comes first.
        for other in &self.include {
            match all.get(other.as_str()) {
                Some(file) if file.include.is_empty() => file.add_rules(&mut preset)?,
                Some(_) | None => return Err(What::Include(other.clone())),
            }
        }
        for table in &self.architecture {
            preset.architectures.push(table.resolve()?);
        }
        Ok(preset)
    }

    fn family_rules(&self) -> Result<FamilyRules, What> {
        let outside_names: Result<_, regex::Error> =
            self.outside_names.iter().map(|names| LayerPattern::new(names)).collect();
        Ok(FamilyRules {
            text_starts: self.text_starts.clone(),
            model_parts: self.model_parts.clone(),
            outside_names: outside_names?,
            layer_forms: [self.attention.clone(), self.feed_forward.clone()],
            layer_parts: self.layer_parts.clone(),
            biases: self.biases.clone(),
            own_head_size: self.own_head_size.clone(),
            with_experts: self.with_experts.clone(),
            marks: self.marks.clone(),
            sizes: self.sizes.clone(),
            module_names: self.module_names.clone(),
            without_kept_banks: self.without_kept_banks.clone(),
        })
    }

    fn add_rules(&self, preset: &mut Preset) -> Result<(), What> {
        for table in &self.keep {
            for layers in &table.layers {
                let (layers, reason) = (LayerPattern::new(layers)?, table.reason.clone());
                let (origin, read_as) = (table.origin, table.read_as);
                preset.keep.push(KeepRule { layers, reason, origin, read_as });
            }
        }
        for table in &self.remove {
            for tensors in &table.tensors {
                let (tensors, reason) = (LayerPattern::new(tensors)?, table.reason.clone());
                preset.remove.push(RemoveRule { tensors, beside: table.beside.clone(), reason });
            }
        }
        preset.fused.extend(self.fused.iter().cloned());
        preset.split_by_columns.extend(self.split_by_columns.iter().cloned());
        preset.coded_banks.extend(self.coded_banks.iter().cloned());
        for probe in &self.probes {
            preset.probes.push(LayerPattern::new(probe)?);
        }
        Ok(())
    }
}

impl ArchitectureTable {
    fn resolve(&self) -> Result<Architecture, What> {
        if self.when.is_empty() {
            return Err(What::NoCondition(self.id.clone()));
        }
        let parse = |texts: &[String]| Condition::parse_all(texts).map_err(What::Condition);
        Ok(Architecture {
            id: self.id.clone(),
            title: self.title.clone(),
            order: self.order,
            kind: self.kind,
            dialect: self.dialect,
            no_codes: self.no_codes.clone(),
            is_known_to_comfyui: self.comfyui,
            has_coded_banks: self.coded_banks,
            when: parse(&self.when)?,
            unless: parse(&self.unless)?,
        })
    }
}
