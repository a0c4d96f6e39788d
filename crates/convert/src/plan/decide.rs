use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use roundwise_layout::{Layout, Products, StoredLayer, layer_of, layer_of_weight, weight_of};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::model::{Detected, KeepRule, Preset, Shapes};
use crate::plan::effects::{Effect, Effects};
use crate::plan::note::Note;
use crate::plan::plan::NotFinite;
use crate::plan::plan::{Decision, keeps_input_scale};
use crate::plan::reason::Reason;
use crate::recipe::{PlainDtype, Recipe};
use crate::source::Source;
use crate::source::source::{matrix_shape, weight_kind};
use crate::source::subject::is_expert_bank;

/// Everything that has a say in what a tensor becomes, and what came of it.
///
/// Precedence: removal by the preset; `keep`; rules; `include`; preset and base list; size;
/// the recipe's scheme, or the one for what a preset keeps. Correctness (rank, dtype, whole blocks, finite numbers) is not up
/// for negotiation.
pub(crate) struct Rules<'a> {
    pub(super) source: &'a Source,
    pub(super) recipe: &'a Recipe,
    detected: &'a Detected,
    preset: &'static Preset,
    pub(super) distillation: Option<&'static Preset>,
    shapes: Shapes<'a>,
    not_finite: &'a NotFinite,
    effects: Effects,
    /// Layers that two settings want different things of, by what is to be said of the settings.
    contradictions: BTreeMap<String, BTreeSet<String>>,
    complaints: Vec<String>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(
        source: &'a Source,
        recipe: &'a Recipe,
        detected: &'a Detected,
        preset: &'static Preset,
        not_finite: &'a NotFinite,
    ) -> Self {
        Self {
            source,
            recipe,
            detected,
            preset,
            distillation: recipe.distillation(),
            shapes: source.shapes(),
            not_finite,
            effects: Effects::of(recipe),
            contradictions: BTreeMap::new(),
            complaints: vec![],
        }
    }

    /// What one tensor becomes.
    pub(crate) fn decide(&mut self, header: &TensorHeader) -> Decision {
        if let Some(because) = self.removal(header) {
            return Decision::Remove(Reason::Removed(because));
        }
        if let Some(owner) = self.source.stored.side_tensors.get(&header.name) {
            return self.decide_side_tensor(header, &owner.clone());
        }
        let layer = layer_of(&header.name);
        let stored = self.source.stored_layer(header);
        let was = |reason: Reason| match stored {
            Some(stored) => reason.of_stored(stored),
            None => reason,
        };
        let outcome = match self.why_not_a_candidate(header, stored.is_some()) {
            Some(reason) => {
                // It stays as it is, as asked; only rules and `include` would be ignored here.
                first_match(self.recipe.keep().iter(), &mut self.effects.keep, layer);
                Err(reason)
            }
            None => self.choose(header, layer),
        };
        match outcome {
            Ok((scheme, reason)) => Decision::Quantize { scheme, reason: was(reason) },
            Err(reason) if stored.is_some() => {
                Decision::Decode { dtype: PlainDtype::Bf16, reason: was(reason) }
            }
            Err(reason) if self.source.adapters().change(&header.name) => {
                Decision::Merge(Reason::Merged { because: Box::new(reason) })
            }
            Err(reason) => Decision::Copy(reason),
        }
    }

    /// The preset of the model that a tensor belongs to.
    pub(super) fn preset_of(&self, name: &str) -> &'static Preset {
        let part = self.detected.component_of(name);
        match part.prefix == self.detected.main.prefix {
            true => self.preset,
            false => part.preset,
        }
    }

    pub(super) fn removal(&self, header: &TensorHeader) -> Option<String> {
        let preset = self.preset_of(&header.name);
        preset.remove_reason(&header.name, &self.shapes).map(str::to_owned)
    }

    /// Scales and markers go with their layer; only an activation scale may outlive it.
    fn decide_side_tensor(&mut self, header: &TensorHeader, layer: &str) -> Decision {
        let stored = match served_layer(self.source, layer) {
            Ok(stored) => stored,
            Err(decision) => return decision,
        };
        let is_input_scale = header.name.ends_with(".input_scale");
        let weight = self.source.checkpoint.get(&weight_of(layer));
        if let (true, Some(weight)) = (is_input_scale, weight)
            && let Decision::Quantize { scheme, .. } = self.decide(weight)
            && keeps_input_scale(stored, scheme, self.recipe.layout())
        {
            return Decision::Copy(Reason::InputScale);
        }
        Decision::Remove(Reason::Superseded)
    }

    pub(super) fn why_not_a_candidate(
        &self,
        header: &TensorHeader,
        is_stored: bool,
    ) -> Option<Reason> {
        if layer_of_weight(&header.name).is_none() {
            // Some banks of experts are called without `.weight`.
            let is_bank = is_expert_bank(header);
            return Some(if is_bank { Reason::Rank(3) } else { Reason::NotAWeight });
        }
        if header.shape.len() != 2 {
            return Some(Reason::Rank(header.shape.len()));
        }
        if header.element_count() == 0 {
            return Some(Reason::Empty);
        }
        if !is_stored && weight_kind(header.dtype).is_none() {
            return Some(Reason::NotFloat(header.dtype.name()));
        }
        None
    }

    /// The scheme of a candidate, or why it is kept.
    fn choose(&mut self, header: &TensorHeader, layer: &str) -> Result<(Scheme, Reason), Reason> {
        let recipe = self.recipe;
        let keep = first_match(recipe.keep().iter(), &mut self.effects.keep, layer);
        let include = first_match(recipe.include().iter(), &mut self.effects.include, layer);
        let rules = recipe.rules();
        let patterns = rules.iter().map(|rule| &rule.pattern);
        let rule = first_match(patterns, &mut self.effects.rules, layer);
        let forced = self.forced_by(rule, include);
        let protection = self.protection(header, layer, recipe.scheme());
        if let Some(index) = keep {
            let pattern = &recipe.keep()[index];
            if let Some(forced) = forced {
                let keep = recipe.file().typed_pattern("keep", index, pattern);
                let both = format!("{keep} and {forced} contradict each other");
                self.contradictions.entry(both).or_default().insert(layer.to_owned());
            }
            self.effects.keep[index].add(changes_if(protection.is_none()));
            return Err(Reason::Kept(pattern.to_string()));
        }
        if let Some(reason) = self.refusal(&header.name) {
            if let Some(forced) = forced {
                let complaint = format!("{forced} asks for what cannot be converted: {reason}");
                if !self.complaints.contains(&complaint) {
                    self.complaints.push(complaint);
                }
            }
            return Err(reason);
        }
        if let Some(index) = rule {
            let (scheme, pattern) = (rules[index].scheme, rules[index].pattern.to_string());
            let is_another = protection.is_some() || scheme != recipe.scheme();
            self.effects.rules[index].add(changes_if(is_another));
            self.check_possible(header, scheme)?;
            return Ok((scheme, Reason::Rule(pattern)));
        }
        if let Some(index) = include {
            self.check_possible(header, recipe.scheme())?;
            self.effects.include[index].add(changes_if(protection.is_some()));
            return Ok((recipe.scheme(), Reason::Included(recipe.include()[index].to_string())));
        }
        self.note_effects(header, layer, protection.as_ref());
        if let Some(reason) = protection {
            return self.fall_back(header, layer, reason);
        }
        self.check_possible(header, recipe.scheme())?;
        Ok((recipe.scheme(), Reason::Default))
    }

    /// The rule or pattern that wants a layer converted, in typed words.
    fn forced_by(&self, rule: Option<usize>, include: Option<usize>) -> Option<String> {
        let (file, rules) = (self.recipe.file(), self.recipe.rules());
        let include = include
            .map(|index| file.typed_pattern("include", index, &self.recipe.include()[index]));
        include.or(rule.map(|index| file.typed_pattern("rules", index, &rules[index].pattern)))
    }

    /// The scheme of a layer that a preset of its model keeps, where the recipe has one for such
    /// layers. What the base list keeps is read as plain numbers by most programs and stays so.
    fn fall_back(
        &mut self,
        header: &TensorHeader,
        layer: &str,
        because: Reason,
    ) -> Result<(Scheme, Reason), Reason> {
        let scheme = self.recipe.fallback_scheme();
        let is_base = Preset::base().keep_rule(layer).is_some() && self.recipe.uses_base_list();
        match (scheme, &because) {
            (Some(scheme), Reason::Preset { .. }) if !is_base => {
                self.check_possible(header, scheme)?;
                self.effects.fallback_scheme.add(Effect::Changes);
                Ok((scheme, Reason::Fallback { because: Box::new(because) }))
            }
            _ => Err(because),
        }
    }

    /// How the layer of a weight may be multiplied: as the input or the recipe asks for it.
    pub(crate) fn products(&mut self, header: &TensorHeader, decision: &Decision) -> Products {
        let layer = layer_of(&header.name);
        let patterns = self.recipe.full_precision().iter();
        let is_asked = first_match(patterns, &mut self.effects.full_precision, layer);
        match (is_asked, decision) {
            (Some(index), Decision::Quantize { .. }) => {
                self.effects.full_precision[index].add(Effect::Changes);
                Products::FullPrecision
            }
            _ => self.source.stored.products(layer),
        }
    }

    /// Which settings had a say in a weight that nobody named.
    ///
    /// - `protection`: why it is kept
    fn note_effects(&mut self, header: &TensorHeader, layer: &str, protection: Option<&Reason>) {
        let own = &self.preset_of(&header.name).name;
        if Preset::base().keep_rule(layer).is_some() {
            self.effects.ignore_base_list.add(changes_if(protection.is_none()));
        }
        if let Some(distillation) = self.distillation.filter(|it| it.keep_rule(layer).is_some()) {
            let decides = |preset: &String| *preset == distillation.name && preset != own;
            let is_by_it =
                matches!(protection, Some(Reason::Preset { preset, .. }) if decides(preset));
            self.effects.keep_distillation.add(changes_if(is_by_it));
        }
        match protection {
            Some(Reason::Heuristic(_)) => self.effects.heuristic.add(Effect::Changes),
            Some(Reason::Small { .. }) => self.effects.min_size.add(Effect::Changes),
            _ => {}
        }
    }

    /// Why no layer of the model that a tensor belongs to may be converted. Whether the main model may
    /// be is known before.
    fn refusal(&self, name: &str) -> Option<Reason> {
        let own = self.detected.component_of(name);
        let because = own.no_codes.filter(|_| own.prefix != self.detected.main.prefix)?;
        Some(Reason::Preset { preset: own.preset.name.clone(), because: because.to_owned() })
    }

    /// Why a candidate that nobody named is left alone.
    fn protection(&self, header: &TensorHeader, layer: &str, scheme: Scheme) -> Option<Reason> {
        let own = self.preset_of(&header.name);
        let base = self.recipe.uses_base_list().then(Preset::base);
        for preset in [Some(own), base, self.distillation].into_iter().flatten() {
            if let Some(rule) = preset.keep_rule(layer) {
                return Some(kept_by(preset, rule));
            }
        }
        self.too_small(header, scheme)
    }

    pub(super) fn too_small(&self, header: &TensorHeader, scheme: Scheme) -> Option<Reason> {
        let shape = self.source.shape_of(header);
        let (elements, min_size) = (shape.iter().product(), self.recipe.min_size());
        if elements < min_size {
            return Some(Reason::Small { elements, min_size });
        }
        self.recipe.heuristic()?.skips(scheme, [shape[0], shape[1]]).map(Reason::Heuristic)
    }

    pub(super) fn check_possible(
        &self,
        header: &TensorHeader,
        scheme: Scheme,
    ) -> Result<(), Reason> {
        if let Some(&row) = self.not_finite.get(&header.name) {
            return Err(Reason::NotFinite { row });
        }
        let shape = self.source.shape_of(header);
        let Some([rows, cols]) = matrix_shape(&shape) else {
            let problem = match shape.len() {
                2 => "too large for this machine",
                _ => "covers matrices only",
            };
            return Err(Reason::Ragged(problem.to_owned()));
        };
        let prefix = &self.detected.component_of(&header.name).prefix;
        if self.recipe.layout() == Layout::ComfyLegacy && *prefix != self.detected.main.prefix {
            return Err(Reason::OtherPart);
        }
        scheme.covers(rows, cols).map_err(|error| Reason::Ragged(error.to_string()))?;
        let layout = self.recipe.layout();
        layout.takes(scheme, [rows, cols]).map_err(|error| Reason::Ragged(error.to_string()))?;
        if self.is_probe(&header.name) && !layout.keeps_shape(scheme, [rows, cols]) {
            return Err(Reason::Probe);
        }
        Ok(())
    }

    /// Whether a loader tells its model apart by the stored shape of this weight.
    fn is_probe(&self, name: &str) -> bool {
        let part = self.detected.component_of(name);
        let presets = [part.preset, self.preset_of(name)];
        presets.into_iter().any(|preset| preset.is_probe(name))
    }

    /// Complains about settings that contradict each other, and notes those that change nothing.
    pub(crate) fn finish(mut self, path: &Path) -> Result<Vec<Note>, ConvertError> {
        let contradictions = std::mem::take(&mut self.contradictions).into_iter();
        let grouped = contradictions.map(|(problem, layers)| of_layers(&problem, &layers));
        self.complaints.extend(grouped);
        let (errors, notes) = self.effects.judged(self.recipe);
        self.complaints.extend(errors);
        if !self.complaints.is_empty() {
            self.complaints.extend(self.asked_of_expert_banks());
        }
        match self.complaints.is_empty() {
            true => Ok(notes),
            false => Err(ConvertError::Misfit {
                path: path.to_owned(),
                problem: self.complaints.join("\n"),
            }),
        }
    }

    /// Settings that want expert banks converted.
    fn asked_of_expert_banks(&self) -> Vec<String> {
        let file = self.recipe.file();
        let include = self.recipe.include().iter().enumerate();
        let include =
            include.map(|(at, pattern)| (file.typed_pattern("include", at, pattern), pattern));
        let rules = self.recipe.rules().iter().map(|rule| &rule.pattern).enumerate();
        let rules = rules.map(|(at, pattern)| (file.typed_pattern("rules", at, pattern), pattern));
        let banks = self.source.checkpoint.tensors().iter().filter(|header| is_expert_bank(header));
        let banks: Vec<&str> = banks.map(|header| header.name.as_str()).collect();
        let asked = include.chain(rules).filter_map(|(setting, pattern)| {
            let bank = banks.iter().find(|bank| pattern.is_match(bank))?;
            Some(format!(
                "{setting} matches `{bank}`, a 3-D expert bank: no layout here has codes for it"
            ))
        });
        asked.collect()
    }
}

/// The stored layer that a scale or a marker serves, or what becomes of one that serves none.
///
/// - `owner`: the layer, nothing for the whole file's markers
pub(crate) fn served_layer<'a>(
    source: &'a Source,
    owner: &str,
) -> Result<&'a StoredLayer, Decision> {
    match source.stored.layers.get(owner) {
        Some(stored) => Ok(stored),
        None if owner.is_empty() => Err(Decision::Remove(Reason::Superseded)),
        None if source.stored.says_it_is_quantized() => Err(Decision::Remove(Reason::Orphan)),
        // In a model of plain numbers it is a parameter that only looks like a scale.
        None => Err(Decision::Copy(Reason::NotAWeight)),
    }
}

/// What is wrong with some layers: how many, and the names of a few.
pub(crate) fn of_layers(problem: &str, layers: &BTreeSet<String>) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = layers.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let (count, list) = (layers.len(), shown.join(", "));
    match count {
        0..=SHOWN => format!("{problem}: {list}"),
        _ => format!("{problem} in {count} layers: {list}, …"),
    }
}

fn changes_if(is_another: bool) -> Effect {
    match is_another {
        true => Effect::Changes,
        false => Effect::Idle,
    }
}

pub(crate) fn kept_by(preset: &Preset, rule: &KeepRule) -> Reason {
    Reason::Preset { preset: preset.name.clone(), because: rule.reason.clone() }
}

/// The first pattern that matches decides; all that match are idle at least.
fn first_match<'a>(
    patterns: impl Iterator<Item = &'a Regex>,
    effects: &mut [Effect],
    layer: &str,
) -> Option<usize> {
    let mut first = None;
    for (index, pattern) in patterns.enumerate() {
        if pattern.is_match(layer) {
            effects[index].add(Effect::Idle);
            first.get_or_insert(index);
        }
    }
    first
}
