//! The changes that an adapter's file holds for a model.

use std::collections::BTreeMap;

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::change::{Algorithm, Change};
use crate::source::adapter::dora::Dora;
use crate::source::adapter::file::AdapterFile;
use crate::source::adapter::full::Full;
use crate::source::adapter::glora::Glora;
use crate::source::adapter::keys::Role;
use crate::source::adapter::loha::Loha;
use crate::source::adapter::lokr::Lokr;
use crate::source::adapter::lora::Lora;
use crate::source::adapter::module::Module;
use crate::source::adapter::numbers::{number, numbers};
use crate::source::adapter::oft::Oft;
use crate::source::adapter::peft_oft::PeftOft;
use crate::source::adapter::scale::Scale;
use crate::source::adapter::target::{Site, Targets, Wanted};

/// The changes that an adapter's file holds for a model.
pub(super) struct Reading<'a> {
    file: &'a AdapterFile,
    index: usize,
    strength: f32,
    targets: &'a Targets,
    pub(super) changes: Vec<Change>,
    /// Keys that have no place in the model.
    pub(super) unmatched: Vec<String>,
    /// The last module that changed each tensor.
    changed: BTreeMap<String, Vec<(String, Site)>>,
}

/// Algorithms that tensors tell, each with the roles of its tensors.
const ALGORITHMS: [(&str, &[Role]); 6] = [
    ("LoRA", &Lora::ROLES),
    ("LoHa", &Loha::ROLES),
    ("LoKr", &Lokr::ROLES),
    ("OFT", &Oft::ROLES),
    ("OFT of PEFT", &PeftOft::ROLES),
    ("GLoRA", &Glora::ROLES),
];

impl<'a> Reading<'a> {
    /// Begins to read an adapter.
    ///
    /// - `index`: of the file among the recipe's adapters
    pub(super) fn new(
        file: &'a AdapterFile,
        index: usize,
        strength: f32,
        targets: &'a Targets,
    ) -> Self {
        let changed = BTreeMap::new();
        Self { file, index, strength, targets, changes: vec![], unmatched: vec![], changed }
    }

    /// Reads all changes of the adapter.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] for what does not fit the model, or holds a NaN or an infinity.
    pub(super) fn read(&mut self) -> Result<(), ConvertError> {
        let contents = self.file.contents()?;
        self.unmatched = contents.unknown;
        for module in contents.modules.into_values() {
            self.read_module(&module)?;
        }
        for (name, tensor) in contents.replacements {
            let sites = self.targets.find_tensor(&name);
            let sites = sites.map_err(|problem| self.file.misfit(problem))?;
            self.add_full(&name, &tensor, sites, Scale::ONE, true)?;
        }
        Ok(())
    }

    fn read_module(&mut self, module: &Module) -> Result<(), ConvertError> {
        let named = ALGORITHMS.iter().filter(|(_, roles)| module.has_any(roles));
        let named: Vec<&str> = named.map(|(name, _)| *name).collect();
        let scale = match named[..] {
            [] => Scale::ONE,
            [name] => self.read_weight(module, name)?.unwrap_or(Scale::ONE),
            _ => {
                let kinds = named.join(" and ");
                let problem = format!("module `{}` is {kinds} at once", module.name);
                return Err(self.file.misfit(problem));
            }
        };
        let is_whole = module.has_any(&[Role::Diff, Role::DiffBias]);
        if named.is_empty() && !is_whole {
            return self.without_algorithm(module);
        }
        for (role, wanted) in [
            (Role::Diff, Wanted::Weight),
            (Role::DiffBias, Wanted::Bias),
            (Role::UpBias, Wanted::Bias),
        ] {
            let Some(tensor) = module.get(role) else { continue };
            let sites = self.find(module, wanted)?;
            // A bias of a pair has the pair's factor; one that is stored by itself has none.
            let scale = if role == Role::UpBias { scale } else { Scale::ONE };
            self.add_full(&module.name, tensor, sites, scale, false)?;
        }
        Ok(())
    }

    /// Handles a module that has only an alpha, norms or a bias: an error where the model has its
    /// layer.
    fn without_algorithm(&mut self, module: &Module) -> Result<(), ConvertError> {
        if self.find(module, Wanted::Weight)?.is_empty() {
            self.leave_out(module.tensors().map(|(_, tensor)| tensor));
            return Ok(());
        }
        let problem = format!("module `{}` has no pair of up and down", module.name);
        Err(self.file.misfit(problem))
    }

    /// Adds the tensors to the unmatched keys, sorted by name.
    fn leave_out<'t>(&mut self, tensors: impl Iterator<Item = &'t TensorHeader>) {
        let mut keys: Vec<String> = tensors.map(|tensor| tensor.name.clone()).collect();
        keys.sort_unstable();
        self.unmatched.append(&mut keys);
    }

    fn find(&self, module: &Module, wanted: Wanted) -> Result<Vec<Site>, ConvertError> {
        let found = self.targets.find(&module.name, wanted);
        found.map_err(|problem| self.file.misfit(problem))
    }

    /// Reads the change of a module's weight; returns its factor, where the model has the weight.
    fn read_weight(&mut self, module: &Module, name: &str) -> Result<Option<Scale>, ConvertError> {
        let sites = self.find(module, Wanted::Matrix)?;
        if sites.is_empty() {
            let is_elsewhere =
                |role: &Role| matches!(role, Role::Diff | Role::DiffBias | Role::UpBias);
            let parts = module.tensors().filter(|(role, _)| !is_elsewhere(role));
            self.leave_out(parts.map(|(_, tensor)| tensor));
            return Ok(None);
        }
        let changes = sites.into_iter().map(|site| self.change_of(module, name, site));
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        // Checked now, since the weight may be merged hours later.
        self.check_numbers(module)?;
        let told = changes.last().map(|change| change.scale);
        for change in changes {
            self.push(&module.name, change)?;
        }
        Ok(told)
    }

    fn change_of(&self, module: &Module, name: &str, site: Site) -> Result<Change, ConvertError> {
        let file = self.file;
        let misfit = |problem: String| file.misfit(problem);
        let may_transpose = file.is_transposed(&module.name);
        let is_whole = site.of_change.is_none();
        let mut strength = self.strength;
        let (algorithm, scale) = match name {
            "LoHa" => {
                let loha = Loha::of(module, &site).map_err(misfit)?;
                let scale = file.scale_of(module, Some(loha.rank()))?;
                (Algorithm::Loha(loha), scale)
            }
            "LoKr" => {
                let lokr = Lokr::of(module, &site).map_err(misfit)?;
                let scale = file.scale_of(module, lokr.rank())?;
                (Algorithm::Lokr(lokr), scale)
            }
            // A rotation mixes the rows of all of these weights, and a product with the weight
            // needs the whole of it.
            "OFT" | "OFT of PEFT" | "GLoRA" if !is_whole => {
                return Err(misfit(format!(
                    "module `{}` changes `{}` together with other weights, which {name} cannot; merge \
                     it into a model that has them in one",
                    module.name, site.tensor.name
                )));
            }
            "OFT" => {
                let alpha = module.get(Role::Alpha).map(|alpha| number(&file.checkpoint, alpha));
                let alpha = alpha.transpose()?.unwrap_or(0.0);
                let oft = Oft::of(module, &site, alpha, strength).map_err(misfit)?;
                // The rotation is blended with the identity by the strength already.
                strength = 1.0;
                (Algorithm::Oft(oft), Scale::ONE)
            }
            "OFT of PEFT" if may_transpose => {
                let name = &module.name;
                return Err(misfit(format!(
                    "module `{name}` is of a weight that is stored transposed"
                )));
            }
            "OFT of PEFT" => {
                let settings = file.oft_settings(&module.name);
                let oft = PeftOft::of(module, &site, settings).map_err(misfit)?;
                (Algorithm::PeftOft(oft), Scale::ONE)
            }
            "GLoRA" => {
                let glora = Glora::of(module, &site).map_err(misfit)?;
                let scale = file.scale_of(module, Some(glora.rank()))?;
                (Algorithm::Glora(glora), scale)
            }
            _ => {
                let lora = Lora::of(module, &site, may_transpose).map_err(misfit)?;
                let scale = file.scale_of(module, Some(lora.rank()))?;
                (Algorithm::Lora(lora), scale)
            }
        };
        let is_transposed = matches!(&algorithm, Algorithm::Lora(lora) if lora.is_transposed());
        let dora = Dora::of(module, &site, is_transposed).map_err(misfit)?;
        if dora.is_some() && matches!(algorithm, Algorithm::Oft(_) | Algorithm::PeftOft(_)) {
            let problem =
                format!("module `{}` has norms (DoRA) with a rotation (OFT)", module.name);
            return Err(misfit(problem));
        }
        if !scale.factor(strength).is_finite() {
            let problem = format!("module `{}` has an alpha of {}", module.name, scale.alpha);
            return Err(misfit(problem));
        }
        let (index, module) = (self.index, module.name.clone());
        Ok(Change { file: index, module, site, algorithm, dora, scale, strength })
    }

    /// Adds a change that is stored whole; a tensor of another shape counts as unmatched.
    fn add_full(
        &mut self,
        module: &str,
        tensor: &TensorHeader,
        sites: Vec<Site>,
        scale: Scale,
        is_replacement: bool,
    ) -> Result<(), ConvertError> {
        let fits = |site: Site| Some((Full::of(tensor, &site, is_replacement)?, site));
        // All or none: a tensor that fits one part of a layer and not the others is of another
        // model.
        let found: Option<Vec<(Full, Site)>> = sites.into_iter().map(fits).collect();
        let found = found.unwrap_or_default();
        if found.is_empty() {
            self.unmatched.push(tensor.name.clone());
            return Ok(());
        }
        // Read only to refuse a NaN or an infinity before the work.
        numbers(&self.file.checkpoint, tensor)?;
        for (full, site) in found {
            let change = Change {
                file: self.index,
                module: module.to_owned(),
                site,
                algorithm: Algorithm::Full(full),
                dora: None,
                scale,
                strength: self.strength,
            };
            self.push(module, change)?;
        }
        Ok(())
    }

    /// Reads a module's tensors once, for a NaN or an infinity.
    fn check_numbers(&self, module: &Module) -> Result<(), ConvertError> {
        let is_read =
            |role: &Role| !matches!(role, Role::Alpha | Role::Diff | Role::DiffBias | Role::UpBias);
        let mut tensors = module.tensors().filter(|(role, _)| is_read(role));
        tensors.try_for_each(|(_, tensor)| numbers(&self.file.checkpoint, tensor).map(drop))
    }

    fn push(&mut self, module: &str, change: Change) -> Result<(), ConvertError> {
        let tensor = change.site.tensor.name.clone();
        let earlier = self.changed.entry(tensor.clone()).or_default();
        let overlaps = |site: &Site| {
            let ranges = |it: &Site| it.rows.clone();
            ranges(site)
                .iter()
                .any(|a| ranges(&change.site).iter().any(|b| a.start < b.end && b.start < a.end))
        };
        // One module may change several rows of a tensor; of two that mean the same rows one is
        // misread.
        if earlier.iter().any(|(other, site)| other != module && overlaps(site)) {
            return Err(self.file.misfit(format!("two of its modules change `{tensor}`")));
        }
        earlier.push((module.to_owned(), change.site.clone()));
        self.changes.push(change);
        Ok(())
    }
}
