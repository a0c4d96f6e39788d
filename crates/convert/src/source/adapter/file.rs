//! An adapter's file, sorted into modules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_layout::StoredLayers;
use roundwise_tensor_file::{Remark, TensorHeader, read_text};

use crate::error::ConvertError;
use crate::source::adapter::config::{
    CONFIG_FILE, Config, ConfigSource, DIFFUSERS_KEY, Kohya, OftSettings,
};
use crate::source::adapter::keys::{ALPHAS, AdapterKey, Role, adapter_key};
use crate::source::adapter::module::Module;
use crate::source::adapter::numbers::{is_numeric, number};
use crate::source::adapter::scale::{Scale, ScaleSource};
use crate::source::adapter::spelling::spellings;
use crate::source::adapter::tensors::AdapterTensors;

/// Name of PEFT's weights.
const PEFT_FILE: &str = "adapter_model.safetensors";

/// Prefix that PEFT gives the names of a model.
const PEFT_PREFIX: &str = "base_model.model.";

/// An adapter's file, sorted into modules.
#[derive(Debug)]
pub(super) struct AdapterFile {
    /// As it was named.
    pub(super) path: PathBuf,
    pub(super) source: AdapterTensors,
    /// Text of the configuration beside it.
    pub(super) config_text: Option<String>,
    config: Option<Config>,
    /// Configurations in the header by their components, that of a model which was saved alone under no name.
    components: BTreeMap<String, Config>,
    /// Keys of that entry of the header, for messages.
    header_keys: Option<String>,
    kohya: Option<Kohya>,
    /// Numbers beside its tensors, by their keys.
    numbers: BTreeMap<String, f32>,
}

/// The contents of an adapter's file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) modules: BTreeMap<String, Module>,
    /// Tensors that replace the model's own, each with the name of that one.
    pub(super) replacements: Vec<(String, TensorHeader)>,
    /// Keys that are no part of an adapter.
    pub(super) unknown: Vec<String>,
}

impl AdapterFile {
    /// Opens a file of an adapter, or PEFT's folder.
    ///
    /// # Errors
    /// When it cannot be read, or its configuration asks for what is not merged.
    pub(super) fn open(path: &Path) -> Result<Self, ConvertError> {
        // Folders of training runs hold more than the adapter.
        let is_peft_folder = read_text(&path.join(CONFIG_FILE)).is_ok();
        let weights =
            is_peft_folder.then(|| AdapterTensors::open(&path.join(PEFT_FILE)).ok()).flatten();
        let source = match weights {
            Some(source) => source,
            None => AdapterTensors::open(path)?,
        };
        let checkpoint = &source.checkpoint;
        // The configuration counts for a file with keys of PEFT only: its folder may hold files of
        // other trainers.
        let is_peft = |header: &TensorHeader| is_of_peft(&header.name);
        let is_peft_file = checkpoint.tensors().iter().any(is_peft);
        let config_text = checkpoint.text_beside(CONFIG_FILE).filter(|_| is_peft_file);
        let misfit = |problem: String| ConvertError::misfit(path, problem);
        let config = config_text.as_deref().map(Config::of_file).transpose();
        let config =
            config.map_err(|problem| misfit(format!("`{CONFIG_FILE}` beside it {problem}")))?;
        let components = Config::of_header(checkpoint.metadata()).map_err(misfit)?;
        let header_keys = Config::keys_of_header(checkpoint.metadata());
        let kohya = Kohya::of(checkpoint.metadata());
        let numbers = numbers_beside(&source);
        let path = path.to_owned();
        Ok(Self { path, source, config_text, config, components, header_keys, kohya, numbers })
    }

    pub(super) fn misfit(&self, problem: String) -> ConvertError {
        // What one shard of several lacks is in the others.
        let is_of_shard = |remark: &&Remark| matches!(remark, Remark::OneShard { .. });
        match self.source.checkpoint.remarks().iter().find(is_of_shard) {
            Some(shard) => ConvertError::misfit(&self.path, format!("{problem}\n  {shard}")),
            None => ConvertError::misfit(&self.path, problem),
        }
    }

    /// Reads the keys of the file into modules and replacements.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] for kinds of adapters that are not merged, for tensors that hold no
    /// numbers, and for more than one adapter.
    pub(super) fn contents(&self) -> Result<Contents, ConvertError> {
        let mut contents = Contents::default();
        for stored in self.source.checkpoint.tensors() {
            // Read with the codes that it is of.
            if is_of_codes(&self.source.stored, &stored.name) {
                continue;
            }
            let is_in_codes = self.source.is_in_codes(stored);
            // Of the numbers: that of packed codes is another one.
            let mut header = stored.clone();
            header.shape = self.source.shape_of(stored);
            let header = &header;
            let replaced = self.replaced(&header.name);
            let key = match replaced {
                Some(tensor) => AdapterKey::Replacement { tensor },
                None => adapter_key(&header.name),
            };
            // An alpha may be a whole number, and is read as one.
            if matches!(key, AdapterKey::Part { .. } | AdapterKey::Replacement { .. })
                && !matches!(key, AdapterKey::Part { role: Role::Alpha, .. })
                && !(is_in_codes || is_numeric(header.dtype))
            {
                let problem = format!("`{}` is {}, expected numbers", header.name, header.dtype);
                return Err(self.misfit(problem));
            }
            match key {
                AdapterKey::Part { module, role, .. } => {
                    let modules = &mut contents.modules;
                    let entry = modules.entry(module.to_owned());
                    let module = entry.or_insert_with(|| Module::new(module));
                    module.set(role, header).map_err(|problem| self.misfit(problem))?;
                }
                AdapterKey::Replacement { tensor } => {
                    contents.replacements.push((tensor, header.clone()));
                }
                AdapterKey::Refused(reason) => {
                    return Err(self.misfit(format!("`{}`: {reason}", header.name)));
                }
                // Control adapters of FLUX bring norms that stand for the model's own.
                AdapterKey::Unknown if header.name.ends_with("_norm.scale") => {
                    let reason = "sets a norm instead of adding to it; load it beside the model";
                    return Err(self.misfit(format!("`{}`: {reason}", header.name)));
                }
                AdapterKey::Unknown => contents.unknown.push(header.name.clone()),
            }
        }
        join_alphas(&mut contents.modules);
        Ok(contents)
    }

    /// Returns the model's tensor that the configuration says is replaced.
    fn replaced(&self, key: &str) -> Option<String> {
        let (_, name) = key.split_at(key.find(PEFT_PREFIX).map_or(0, |at| at + PEFT_PREFIX.len()));
        let is_replaced =
            self.config.as_ref()?.replaces(name) && adapter_key(key) == AdapterKey::Unknown;
        is_replaced.then(|| key.to_owned())
    }

    /// Returns whether weights are stored `[inputs, outputs]`.
    pub(super) fn is_transposed(&self, module: &str) -> bool {
        self.config_of(module).is_some_and(|(config, _)| config.is_transposed)
    }

    /// Returns how a module's rotations are computed, where a configuration says so.
    pub(super) fn oft_settings(&self, module: &str) -> Option<OftSettings> {
        self.config_of(module)?.0.oft
    }

    /// Returns the configuration of a module, and the module's name in the model.
    fn config_of<'a>(&self, module: &'a str) -> Option<(&Config, &'a str)> {
        let bare = |name: &'a str| name.strip_prefix(PEFT_PREFIX).unwrap_or(name);
        if let Some(config) = &self.config {
            return Some((config, bare(module)));
        }
        let of_component = module.split_once('.').and_then(|(component, rest)| {
            self.components.get(component).map(|config| (config, bare(rest)))
        });
        of_component.or_else(|| Some((self.components.get("")?, bare(module))))
    }

    /// Returns the factor of a module.
    ///
    /// - `rank`: of its tensors; `None` where it has no factors of lower rank
    ///
    /// # Errors
    /// When what tells the factor is no number, or does not belong to the tensors.
    pub(super) fn scale_of(
        &self,
        module: &Module,
        rank: Option<u64>,
    ) -> Result<Scale, ConvertError> {
        // What is nearest to the tensors counts: their own alpha, then a configuration, then the
        // trainer's header entries, and last the rank, which makes the factor 1.
        if let Some(alpha) = module.get(Role::Alpha) {
            let Some(rank) = rank else { return Ok(Scale::ONE) };
            let alpha = number(&self.source, alpha)?;
            return Ok(Scale { alpha, divisor: rank as f32, source: ScaleSource::Tensor });
        }
        if let Some(rank) = rank
            && let Some(scale) = self.scale_in_numbers(module, rank)?
        {
            return Ok(scale);
        }
        let is_of_peft = module.tensors().any(|(_, tensor)| is_of_peft(&tensor.name));
        if let Some((config, name)) = self.config_of(&module.name).filter(|_| is_of_peft) {
            return self.configured(config, name, rank).map_err(|problem| self.misfit(problem));
        }
        let Some(rank) = rank else { return Ok(Scale::ONE) };
        let is_kohya = module.tensors().any(|(_, tensor)| tensor.name.contains(".lora_down."));
        Ok(match self.kohya {
            // Blocks of another rank have an alpha of their own, which the header does not tell.
            Some(kohya) if is_kohya && kohya.rank == rank as f64 => Scale {
                alpha: kohya.alpha as f32,
                divisor: rank as f32,
                source: ScaleSource::KohyaMetadata,
            },
            _ => self.assumed(&module.name, rank)?,
        })
    }

    /// Returns the factor 1 for a module that nothing tells the alpha of.
    ///
    /// # Errors
    /// When the header has a configuration, which would have told it.
    fn assumed(&self, module: &str, rank: u64) -> Result<Scale, ConvertError> {
        let alpha = rank as f32;
        match &self.header_keys {
            None => Ok(Scale { alpha, divisor: alpha, source: ScaleSource::Assumed }),
            Some(keys) => Err(self.misfit(format!(
                "header entry `{DIFFUSERS_KEY}` does not say the alpha of `{module}`; its keys: {keys}\n  \
                 save the adapter with its own `alpha` tensors, or without this entry where alpha is the rank"
            ))),
        }
    }

    /// Returns the factor of a module that numbers beside the tensors tell: its own alpha, or that of the
    /// whole adapter.
    fn scale_in_numbers(&self, module: &Module, rank: u64) -> Result<Option<Scale>, ConvertError> {
        let told_by = |key: &str| self.numbers.get(key).copied();
        let of_module = ALPHAS.iter().find_map(|end| told_by(&format!("{}{end}", module.name)));
        let of_all = ALPHAS.iter().find_map(|end| told_by(&end[1..]));
        let Some(alpha) = of_module.or(of_all) else { return Ok(None) };
        let told = ["rank", "lora_rank", "network_dim", "r"].iter().find_map(|key| told_by(key));
        let told = told.unwrap_or(rank as f32);
        if of_module.is_none() && told != rank as f32 {
            return Err(self.misfit(format!(
                "says rank {told} beside its tensors, those of `{}` have {rank}",
                module.name
            )));
        }
        Ok(Some(Scale { alpha, divisor: rank as f32, source: ScaleSource::Numbers }))
    }

    fn configured(&self, config: &Config, name: &str, rank: Option<u64>) -> Result<Scale, String> {
        let (source, place) = match config.source {
            ConfigSource::ConfigFile => (ScaleSource::ConfigFile, CONFIG_FILE),
            ConfigSource::DiffusersMetadata => {
                (ScaleSource::DiffusersMetadata, "`lora_adapter_metadata` in its header")
            }
        };
        let told = config.rank_of(name);
        if let (Some(told), Some(rank)) = (told, rank)
            && told != rank as f64
        {
            return Err(format!(
                "{place} says that `{name}` has rank {told}, its tensors have {rank}\n  it belongs to \
                 another adapter"
            ));
        }
        let rank = rank.map(|rank| rank as f64).or(told);
        let Some(rank) = rank.filter(|rank| *rank > 0.0) else {
            return Err(format!("{place} does not say the rank of `{name}` (`r`)"));
        };
        let Some(alpha) = config.alpha_of(name) else {
            let keys = match (config.source, &self.header_keys) {
                (ConfigSource::DiffusersMetadata, Some(keys)) => format!("; its keys: {keys}"),
                _ => String::new(),
            };
            return Err(format!("{place} does not say the alpha of `{name}` (`lora_alpha`){keys}"));
        };
        // Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023.
        let divisor = if config.is_rank_stabilised { rank.sqrt() } else { rank };
        Ok(Scale { alpha: alpha as f32, divisor: divisor as f32, source })
    }
}

/// Returns the numbers beside the tensors of a file of PyTorch that tell an adapter's factor.
fn numbers_beside(source: &AdapterTensors) -> BTreeMap<String, f32> {
    let remarks = source.checkpoint.remarks().iter();
    let numbers = remarks.filter_map(|remark| match remark {
        Remark::Numbers { numbers } => Some(numbers),
        _ => None,
    });
    let parsed = |(key, number): &(String, String)| Some((key.clone(), number.parse().ok()?));
    numbers.flatten().filter_map(parsed).collect()
}

/// Returns whether a tensor is the scale or the marker of codes that are decoded.
fn is_of_codes(stored: &StoredLayers, name: &str) -> bool {
    // The layer is empty for what is said of the whole file.
    stored
        .side_tensors
        .get(name)
        .is_some_and(|layer| layer.is_empty() || stored.layers.contains_key(layer))
}

/// Gives an alpha whose name begins otherwise than that of its pair to the only module that it can be
/// of.
fn join_alphas(modules: &mut BTreeMap<String, Module>) {
    let bare = |name: &str| spellings(name).pop().map(|(name, _)| name);
    let is_lone = |module: &Module| module.tensors().all(|(role, _)| role == Role::Alpha);
    let lone = modules.iter().filter(|(_, module)| is_lone(module));
    let lone: Vec<String> = lone.map(|(name, _)| name.clone()).collect();
    if lone.is_empty() {
        return;
    }
    let mut owners = BTreeMap::<Option<String>, Vec<String>>::new();
    for (name, _) in modules.iter().filter(|(_, module)| !is_lone(module)) {
        owners.entry(bare(name)).or_default().push(name.clone());
    }
    for name in lone {
        let Some([owner]) = owners.get(&bare(&name)).map(Vec::as_slice) else { continue };
        let alpha = modules.get(&name).and_then(|module| module.get(Role::Alpha)).cloned();
        let owner = modules.get_mut(owner).filter(|owner| owner.get(Role::Alpha).is_none());
        if let (Some(alpha), Some(owner)) = (alpha, owner)
            && owner.set(Role::Alpha, &alpha).is_ok()
        {
            modules.remove(&name);
        }
    }
}

/// Returns whether PEFT or diffusers wrote a key; their configuration gives the factors.
fn is_of_peft(key: &str) -> bool {
    key.contains(".lora_A")
        || key.contains(".lora_B")
        || key.contains(".lora_embedding_")
        || key.starts_with(PEFT_PREFIX)
}
