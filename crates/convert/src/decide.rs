use std::path::Path;

use regex::Regex;
use roundwise_layout::Layout;
use roundwise_scheme::Scheme;
use roundwise_tensor_file::TensorHeader;

use crate::plan::{NotFinite, keeps_input_scale, layer_of};
use crate::source::{matrix_shape, weight_kind};
use crate::{ConvertError, Decision, Detected, KeepRule, Preset, Reason, Recipe, Shapes, Source};

/// Everything that has a say in what a tensor becomes, and which patterns were of use.
///
/// Precedence: removal by the preset; `keep`; rules; `include`; preset and base list; size;
/// the recipe's scheme. Correctness (rank, dtype, whole blocks, finite numbers) is not up
/// for negotiation.
pub(crate) struct Rules<'a> {
    source: &'a Source,
    recipe: &'a Recipe,
    detected: &'a Detected,
    preset: &'static Preset,
    distillation: Option<&'static Preset>,
    distillation_used: bool,
    shapes: Shapes<'a>,
    not_finite: &'a NotFinite,
    keep_used: Vec<bool>,
    include_used: Vec<bool>,
    rules_used: Vec<bool>,
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
            distillation_used: false,
            shapes: source.shapes(),
            not_finite,
            keep_used: vec![false; recipe.keep().len()],
            include_used: vec![false; recipe.include().len()],
            rules_used: vec![false; recipe.rules().len()],
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
        let is_stored = self.source.stored.layers.contains_key(layer)
            && header.name.len() == layer.len() + ".weight".len();
        let outcome = match self.why_not_a_candidate(header, is_stored) {
            Some(reason) => {
                // It stays as it is, as asked; only rules and `include` would be ignored here.
                first_match(self.recipe.keep(), &mut self.keep_used, layer);
                Err(reason)
            }
            None => self.choose(header, layer),
        };
        match outcome {
            Ok((scheme, reason)) => Decision::Quantize { scheme, reason },
            Err(because) if is_stored => self.decode(layer, because),
            Err(reason) => Decision::Copy(reason),
        }
    }

    /// The preset of the model that a tensor belongs to.
    fn preset_of(&self, name: &str) -> &'static Preset {
        let part = self.detected.part_of(name);
        match part.prefix == self.detected.main.prefix {
            true => self.preset,
            false => part.preset,
        }
    }

    fn removal(&self, header: &TensorHeader) -> Option<String> {
        let preset = self.preset_of(&header.name);
        preset.remove_reason(&header.name, &self.shapes).map(str::to_owned)
    }

    fn decode(&self, layer: &str, because: Reason) -> Decision {
        let stored = &self.source.stored.layers[layer];
        Decision::Decode(Reason::Decoded {
            from: stored.scheme,
            origin: stored.origin,
            because: Box::new(because),
        })
    }

    /// Scales and markers go with their layer; only an activation scale may outlive it.
    fn decide_side_tensor(&mut self, header: &TensorHeader, layer: &str) -> Decision {
        let Some(stored) = self.source.stored.layers.get(layer) else {
            return match layer {
                "" => Decision::Remove(Reason::Superseded),
                _ if self.source.stored.says_it_is_quantized() => Decision::Remove(Reason::Orphan),
                // In a model of plain numbers it is a parameter that only looks like a scale.
                _ => Decision::Copy(Reason::NotAWeight),
            };
        };
        let is_input_scale = header.name.ends_with(".input_scale");
        let weight = self.source.checkpoint.get(&format!("{layer}.weight"));
        if let (true, Some(weight)) = (is_input_scale, weight)
            && let Decision::Quantize { scheme, .. } = self.decide(weight)
            && keeps_input_scale(stored, scheme, self.recipe.layout())
        {
            return Decision::Copy(Reason::InputScale);
        }
        Decision::Remove(Reason::Superseded)
    }

    fn why_not_a_candidate(&self, header: &TensorHeader, is_stored: bool) -> Option<Reason> {
        if !header.name.ends_with(".weight") {
            return Some(Reason::NotAWeight);
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
        self.distillation_used |=
            self.distillation.is_some_and(|preset| preset.keep_rule(layer).is_some());
        let keep = first_match(self.recipe.keep(), &mut self.keep_used, layer);
        let include = first_match(self.recipe.include(), &mut self.include_used, layer);
        let rule = self.matching_rule(layer);
        if let Some(keep) = keep {
            if let Some(forced) = asked_for(rule.as_ref(), include.as_ref()) {
                self.complaints.push(format!(
                    "layer `{layer}`: `keep` pattern `{keep}` and {forced} contradict each other"
                ));
            }
            return Err(Reason::Kept(keep));
        }
        if let Some(reason) = self.refusal(&header.name) {
            if let Some(forced) = asked_for(rule.as_ref(), include.as_ref()) {
                let complaint = format!("{forced} asks for what cannot be converted: {reason}");
                if !self.complaints.contains(&complaint) {
                    self.complaints.push(complaint);
                }
            }
            return Err(reason);
        }
        let (scheme, reason) = match (rule, include) {
            (Some((scheme, pattern)), _) => (scheme, Reason::Rule(pattern)),
            (None, Some(pattern)) => (self.recipe.scheme(), Reason::Included(pattern)),
            (None, None) => {
                let scheme = self.recipe.scheme();
                if let Some(reason) = self.protection(header, layer, scheme) {
                    return Err(reason);
                }
                (scheme, Reason::Default)
            }
        };
        self.check_possible(header, scheme)?;
        Ok((scheme, reason))
    }

    /// Why no layer of the model that a tensor belongs to may be converted.
    fn refusal(&self, name: &str) -> Option<Reason> {
        let own = self.preset_of(name);
        let because = own.refuse.clone()?;
        Some(Reason::Preset { preset: own.name.clone(), because })
    }

    fn matching_rule(&mut self, layer: &str) -> Option<(Scheme, String)> {
        let rules = self.recipe.rules();
        let patterns = rules.iter().map(|rule| &rule.pattern);
        let rule = &rules[first_match_index(patterns, &mut self.rules_used, layer)?];
        Some((rule.scheme, rule.pattern.to_string()))
    }

    /// Why a candidate that nobody named is left alone.
    fn protection(&mut self, header: &TensorHeader, layer: &str, scheme: Scheme) -> Option<Reason> {
        let own = self.preset_of(&header.name);
        let base = self.recipe.uses_base_list().then(Preset::base);
        for preset in [Some(own), base, self.distillation].into_iter().flatten() {
            if let Some(rule) = preset.keep_rule(layer) {
                return Some(kept_by(preset, rule));
            }
        }
        self.too_small(header, scheme)
    }

    fn too_small(&self, header: &TensorHeader, scheme: Scheme) -> Option<Reason> {
        let (elements, min_size) = (header.element_count(), self.recipe.min_size());
        if elements < min_size {
            return Some(Reason::Small { elements, min_size });
        }
        let shape = [header.shape[0], header.shape[1]];
        self.recipe.heuristic()?.skips(scheme, shape).map(Reason::Heuristic)
    }

    fn check_possible(&self, header: &TensorHeader, scheme: Scheme) -> Result<(), Reason> {
        if let Some(&row) = self.not_finite.get(&header.name) {
            return Err(Reason::NotFinite { row });
        }
        let Some([rows, cols]) = matrix_shape(&header.shape) else {
            return Err(Reason::Ragged("too large for this machine".to_owned()));
        };
        let prefix = &self.detected.part_of(&header.name).prefix;
        if self.recipe.layout() == Layout::ComfyLegacy && *prefix != self.detected.main.prefix {
            return Err(Reason::OtherPart);
        }
        scheme.tiling.covers(rows, cols).map_err(|error| Reason::Ragged(error.to_string()))
    }

    /// Complains about patterns that matched nothing or contradict each other: a rule that is
    /// silently ignored is the worst kind of error.
    pub(crate) fn finish(self, path: &Path) -> Result<(), ConvertError> {
        let mut complaints = self.complaints;
        // An activation scale asks for the decision of its weight once more.
        complaints.dedup();
        let patterns = |regexes: &[Regex]| -> Vec<String> {
            regexes.iter().map(ToString::to_string).collect()
        };
        let rules = self.recipe.rules().iter().map(|rule| rule.pattern.to_string()).collect();
        for (kind, patterns, used) in [
            ("keep", patterns(self.recipe.keep()), &self.keep_used),
            ("include", patterns(self.recipe.include()), &self.include_used),
            ("rule", rules, &self.rules_used),
        ] {
            for (pattern, _) in patterns.iter().zip(used).filter(|(_, used)| !**used) {
                let missed = if kind == "keep" { "tensor" } else { "weight that can be converted" };
                complaints.push(format!(
                    "{kind} pattern `{pattern}` matches no {missed} in this file\n  \
                     `roundwise plan` lists their names"
                ));
            }
        }
        if self.distillation.is_some() && !self.distillation_used {
            complaints.push("`keep_distillation` applies to no weight of this file".to_owned());
        }
        match complaints.is_empty() {
            true => Ok(()),
            false => {
                Err(ConvertError::Misfit { path: path.to_owned(), problem: complaints.join("\n") })
            }
        }
    }
}

/// The rule or pattern that wants a layer converted, in words.
fn asked_for(rule: Option<&(Scheme, String)>, include: Option<&String>) -> Option<String> {
    let include = include.map(|pattern| format!("include `{pattern}`"));
    include.or(rule.map(|(_, pattern)| format!("rule `{pattern}`")))
}

fn kept_by(preset: &Preset, rule: &KeepRule) -> Reason {
    Reason::Preset { preset: preset.name.clone(), because: rule.reason.clone() }
}

fn first_match(patterns: &[Regex], used: &mut [bool], layer: &str) -> Option<String> {
    Some(patterns[first_match_index(patterns.iter(), used, layer)?].to_string())
}

/// The first pattern that matches decides; later ones that match as well are of use all the same.
fn first_match_index<'a>(
    patterns: impl Iterator<Item = &'a Regex>,
    used: &mut [bool],
    layer: &str,
) -> Option<usize> {
    let mut first = None;
    for (index, pattern) in patterns.enumerate() {
        if pattern.is_match(layer) {
            used[index] = true;
            first.get_or_insert(index);
        }
    }
    first
}
