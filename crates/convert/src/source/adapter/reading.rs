//! The changes that an adapter's file holds for a model.

use std::collections::BTreeMap;

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::change::{Algorithm, Change};
use crate::source::adapter::dora::Dora;
use crate::source::adapter::file::AdapterFile;
use crate::source::adapter::full::Full;
use crate::source::adapter::glora::Glora;
use crate::source::adapter::keys::{AdapterKey, Role, adapter_key};
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

/// An algorithm that the tensors of a module tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AlgorithmName {
    Lora,
    Loha,
    Lokr,
    Oft,
    PeftOft,
    Glora,
}

/// Algorithms by their names, each with the roles of its tensors.
const ALGORITHMS: [(AlgorithmName, &str, &[Role]); 6] = [
    (AlgorithmName::Lora, "LoRA", &Lora::ROLES),
    (AlgorithmName::Loha, "LoHa", &Loha::ROLES),
    (AlgorithmName::Lokr, "LoKr", &Lokr::ROLES),
    (AlgorithmName::Oft, "OFT", &Oft::ROLES),
    (AlgorithmName::PeftOft, "OFT of PEFT", &PeftOft::ROLES),
    (AlgorithmName::Glora, "GLoRA", &Glora::ROLES),
];

impl AlgorithmName {
    fn in_words(self) -> &'static str {
        let named = ALGORITHMS.iter().find(|(it, ..)| *it == self);
        named.map_or("", |(_, name, _)| name)
    }
}

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
        self.refuse_rest_of_merged()
    }

    /// Refuses tensors without a place that are of a module which is merged: without its scale, its alpha
    /// or its norms the change would be another one.
    fn refuse_rest_of_merged(&self) -> Result<(), ConvertError> {
        let rest = self.unmatched.iter().filter(|key| self.is_of_merged(key));
        let rest: Vec<String> = rest.map(|key| format!("`{key}`")).collect();
        if rest.is_empty() {
            return Ok(());
        }
        let problem = format!(
            "has more of what is merged than is understood: {}\n  without it the change would be \
             another one; merge it with the program that wrote it",
            rest.join(", ")
        );
        Err(self.file.misfit(problem))
    }

    fn is_of_merged(&self, key: &str) -> bool {
        let is_changed = |module: &str| {
            let places = [Wanted::Weight, Wanted::Bias].map(|it| self.targets.find(module, it));
            let mut places = places.into_iter().flatten().flatten();
            places.any(|site| self.changed.contains_key(&site.tensor.name))
        };
        match adapter_key(key) {
            AdapterKey::Part { module, .. } => is_changed(module),
            // The weight that it was trained with, which PEFT stores for an embedding.
            _ if key.contains(".base_layer.") => false,
            // Any beginning of the name may be the module.
            _ => key.match_indices('.').any(|(end, _)| is_changed(&key[..end])),
        }
    }

    fn read_module(&mut self, module: &Module) -> Result<(), ConvertError> {
        let named = ALGORITHMS.iter().filter(|(.., roles)| module.has_any(roles));
        let named: Vec<(AlgorithmName, &str)> =
            named.map(|(algorithm, name, _)| (*algorithm, *name)).collect();
        let scale = match named[..] {
            [] => Scale::ONE,
            [(algorithm, _)] => self.read_weight(module, algorithm)?.unwrap_or(Scale::ONE),
            _ => {
                let kinds: Vec<&str> = named.iter().map(|(_, name)| *name).collect();
                let kinds = kinds.join(" and ");
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
    fn read_weight(
        &mut self,
        module: &Module,
        algorithm: AlgorithmName,
    ) -> Result<Option<Scale>, ConvertError> {
        let sites = self.find(module, Wanted::Matrix)?;
        if sites.is_empty() {
            let is_elsewhere =
                |role: &Role| matches!(role, Role::Diff | Role::DiffBias | Role::UpBias);
            let parts = module.tensors().filter(|(role, _)| !is_elsewhere(role));
            self.leave_out(parts.map(|(_, tensor)| tensor));
            return Ok(None);
        }
        let changes = sites.into_iter().map(|site| self.change_of(module, algorithm, site));
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        // Checked now, since the weight may be merged hours later.
        self.check_numbers(module)?;
        let scale = changes.last().map(|change| change.scale);
        for change in changes {
            self.push(&module.name, change)?;
        }
        Ok(scale)
    }

    fn change_of(
        &self,
        module: &Module,
        name: AlgorithmName,
        site: Site,
    ) -> Result<Change, ConvertError> {
        let file = self.file;
        let misfit = |problem: String| file.misfit(problem);
        let (algorithm, scale) = self.algorithm_of(module, name, &site)?;
        // The rotation is blended with the identity by the strength already.
        let strength = if name == AlgorithmName::Oft { 1.0 } else { self.strength };
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

    /// Returns the algorithm of a module's change, and its factor.
    fn algorithm_of(
        &self,
        module: &Module,
        algorithm: AlgorithmName,
        site: &Site,
    ) -> Result<(Algorithm, Scale), ConvertError> {
        let file = self.file;
        let misfit = |problem: String| file.misfit(problem);
        let may_transpose = file.is_transposed(&module.name);
        let is_whole = site.of_change.is_none();
        Ok(match algorithm {
            AlgorithmName::Loha => {
                let loha = Loha::of(module, site).map_err(misfit)?;
                let scale = file.scale_of(module, Some(loha.rank()))?;
                (Algorithm::Loha(loha), scale)
            }
            AlgorithmName::Lokr => {
                let lokr = Lokr::of(module, site).map_err(misfit)?;
                let scale = file.scale_of(module, lokr.rank())?;
                (Algorithm::Lokr(lokr), scale)
            }
            // A rotation mixes the rows of all of these weights, and a product with the weight
            // needs the whole of it.
            AlgorithmName::Oft | AlgorithmName::PeftOft | AlgorithmName::Glora if !is_whole => {
                let name = algorithm.in_words();
                return Err(misfit(format!(
                    "module `{}` changes `{}` together with other weights, which {name} cannot; merge \
                     it into a model that has them in one",
                    module.name, site.tensor.name
                )));
            }
            AlgorithmName::Oft => {
                let alpha = module.get(Role::Alpha).map(|alpha| number(&file.source, alpha));
                let alpha = alpha.transpose()?.unwrap_or(0.0);
                let oft = Oft::of(module, site, alpha, self.strength).map_err(misfit)?;
                (Algorithm::Oft(oft), Scale::ONE)
            }
            AlgorithmName::PeftOft if may_transpose => {
                let name = &module.name;
                return Err(misfit(format!(
                    "module `{name}` is of a weight that is stored transposed"
                )));
            }
            AlgorithmName::PeftOft => {
                let settings = file.oft_settings(&module.name);
                let oft = PeftOft::of(module, site, settings).map_err(misfit)?;
                (Algorithm::PeftOft(oft), Scale::ONE)
            }
            AlgorithmName::Glora => {
                let glora = Glora::of(module, site).map_err(misfit)?;
                let scale = file.scale_of(module, Some(glora.rank()))?;
                (Algorithm::Glora(glora), scale)
            }
            AlgorithmName::Lora => {
                let lora = Lora::of(module, site, may_transpose).map_err(misfit)?;
                let scale = file.scale_of(module, Some(lora.rank()))?;
                (Algorithm::Lora(lora), scale)
            }
        })
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
        numbers(&self.file.source, tensor)?;
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
        tensors.try_for_each(|(_, tensor)| numbers(&self.file.source, tensor).map(drop))
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
