use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;
use roundwise_layout::{InputScale, Layout};
use roundwise_rounding::{BiasCorrection, Objective, Options, Solver};
use roundwise_scheme::{ScaleRule, Scheme};

use crate::model::{FileKind, Heuristic, Preset};
use crate::recipe::check::{Checker, NEAREST};
use crate::recipe::complaint::RecipeError;
use crate::recipe::edit::Edit;
use crate::recipe::file::RecipeFile;
use crate::recipe::inputs::InputScales;
use crate::recipe::min_size::default_min_size;
use crate::recipe::names::Names;
use crate::recipe::program::Program;
use crate::recipe::purpose::Purpose;
use crate::recipe::rule::Rule;

/// How codes are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one for a whole conversion")]
pub enum Rounding {
    /// The nearest value that the tile can store.
    Nearest,
    /// A search that is scored on the codes it stores.
    Learned(Options),
}

/// A recipe that has been checked: every name is known, every pattern compiles, every scheme has
/// a place in the layout.
#[derive(Clone, Debug)]
pub struct Recipe {
    file: RecipeFile,
    purpose: Purpose,
    scheme: Scheme,
    layout: Layout,
    tensor_parallel: usize,
    inputs: InputScales,
    options: Options,
    bias_correction: BiasCorrection,
    scale_rule: Option<ScaleRule>,
    kind: Option<FileKind>,
    names: Option<Names>,
    preset: Option<&'static Preset>,
    keep: Vec<Regex>,
    include: Vec<Regex>,
    rules: Vec<Rule>,
    assigned: BTreeMap<String, Scheme>,
    edit: Edit,
    heuristic: Option<Heuristic>,
    fallback_scheme: Option<Scheme>,
    full_precision: Vec<Regex>,
    adapters: Vec<(PathBuf, f32)>,
}

impl RecipeFile {
    /// Checks the recipe and collects everything that is wrong with it.
    ///
    /// # Errors
    /// As [`Recipe::check`].
    pub fn check(self) -> Result<Recipe, RecipeError> {
        Recipe::check(self)
    }
}

impl Recipe {
    /// Makes a recipe that turns weights into this scheme, everything else by default;
    /// [`RecipeFile::new`] begins one that says more.
    ///
    /// # Errors
    /// When nearest codes cannot be stored in the scheme's own layout, which is true of no scheme of
    /// the catalogue.
    pub fn new(scheme: Scheme) -> Result<Self, RecipeError> {
        Self::check(RecipeFile::new(scheme))
    }

    /// Checks a recipe and collects everything that is wrong with it.
    ///
    /// # Errors
    /// All complaints at once, each with the path of its field.
    pub fn check(file: RecipeFile) -> Result<Self, RecipeError> {
        let mut checker = Checker::of(&file);
        // 1. Purpose, program and layout, on which depends how a scheme is stored.
        let purpose = checker.purpose();
        let program = checker.choice("for", file.program.as_deref(), &Program::NAMES);
        let named = match purpose {
            Purpose::Migrate => {
                checker.choice("migrate_to", file.migrate_to.as_deref(), &Layout::NAMES)
            }
            Purpose::Quantize | Purpose::Decode(_) | Purpose::Repair | Purpose::Edit => {
                checker.choice("layout", file.layout.as_deref(), &Layout::NAMES)
            }
        };
        let default = default_scheme(program, named);
        let scheme = checker.parse::<Scheme>("scheme", file.scheme.as_deref().unwrap_or(default));
        let program = program.unwrap_or(Program::ComfyUi);
        // Nothing follows from a scheme that is not known; the complaint about it is enough.
        let layout = named.or_else(|| Some(program.layout(scheme?))).unwrap_or_default();
        checker.agree(layout);
        let tensor_parallel = checker.tensor_parallel(layout);
        let scheme = scheme.map(|scheme| layout.stored_scheme(scheme));
        // 2. Each setting by itself.
        let method = checker.method();
        let scale_rule =
            checker.choice("scale_rule", file.scale_rule.as_deref(), &ScaleRule::NAMES);
        let heuristic = checker.choice("heuristic", file.heuristic.as_deref(), &Heuristic::NAMES);
        let kind = file.kind.as_deref().and_then(|name| checker.parse("as", name));
        let names = checker.names(purpose);
        let preset = checker.preset();
        let keep = checker.patterns("keep", &file.keep);
        let include = checker.patterns("include", &file.include);
        let mut rules = checker.rules(&file.rules);
        rules.iter_mut().for_each(|rule| rule.scheme = layout.stored_scheme(rule.scheme));
        let mut assigned = checker.assignments(&file.assign);
        assigned.values_mut().for_each(|scheme| *scheme = layout.stored_scheme(*scheme));
        let fallback = file.fallback_scheme.as_deref();
        let fallback_scheme = fallback.and_then(|name| checker.parse("fallback_scheme", name));
        let fallback_scheme = fallback_scheme.map(|scheme| layout.stored_scheme(scheme));
        let full_precision = checker.patterns("full_precision", &file.full_precision);
        let adapters = checker.adapters();
        let edit = checker.edit();
        // 3. Settings that have to go together.
        let schemes = scheme.into_iter().chain(rules.iter().map(|rule| rule.scheme));
        let schemes: Vec<Scheme> = schemes.chain(assigned.values().copied()).collect();
        let inputs = checker.inputs(layout, &schemes);
        // Where codes stay, the plan asks the layout about each layer that there is.
        if purpose == Purpose::Quantize {
            checker.admit(layout, scheme, fallback_scheme, &rules, &assigned);
        }
        if let (Some(scheme), Some((options, _))) = (scheme, method) {
            let rule = scale_rule.unwrap_or_default();
            checker.combine(scheme, fallback_scheme, &rules, &assigned, options, rule);
        }
        let complaints = checker.complaints;
        match (scheme, method) {
            (Some(scheme), Some((options, bias_correction))) if complaints.is_empty() => {
                Ok(Recipe {
                    purpose,
                    scheme,
                    layout,
                    tensor_parallel,
                    inputs,
                    options,
                    bias_correction,
                    scale_rule,
                    kind,
                    names,
                    preset,
                    keep,
                    include,
                    rules,
                    assigned,
                    edit,
                    heuristic,
                    fallback_scheme,
                    full_precision,
                    adapters,
                    file,
                })
            }
            _ => Err(RecipeError { complaints }),
        }
    }

    /// Returns the recipe as typed.
    pub fn file(&self) -> &RecipeFile {
        &self.file
    }

    /// Returns the purpose of the recipe.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Returns whether any weight may become codes other than plain numbers of 16 bits.
    pub fn stores_codes(&self) -> bool {
        let rules = self.rules.iter().map(|rule| rule.scheme);
        let schemes = rules.chain([self.scheme]).chain(self.fallback_scheme);
        let mut schemes = schemes.chain(self.assigned.values().copied());
        schemes.any(|scheme| scheme.has_scales())
    }

    /// Returns the scheme of the weights that no rule names.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the layout of the output.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns how many devices share a layer out.
    pub fn tensor_parallel(&self) -> usize {
        self.tensor_parallel
    }

    /// Returns the number that the output holds of the inputs of a layer in some scheme.
    pub fn input_scale(&self, scheme: Scheme) -> Option<InputScale> {
        match self.inputs {
            InputScales::Dynamic => None,
            InputScales::Static => self.layout.input_scale(scheme),
        }
    }

    /// Returns where scales of inputs come from.
    pub fn inputs(&self) -> InputScales {
        self.inputs
    }

    /// Returns whether the output is a folder whatever the size of its files: servers read what lies
    /// beside the weights.
    pub fn makes_folder(&self) -> bool {
        match self.purpose {
            Purpose::Quantize | Purpose::Migrate => self.layout.is_for_servers(),
            Purpose::Decode(_) | Purpose::Repair | Purpose::Edit => false,
        }
    }

    /// Returns the name of the method.
    pub fn method(&self) -> &str {
        self.file.method.as_deref().unwrap_or(NEAREST)
    }

    /// Returns how codes are chosen.
    pub fn rounding(&self) -> Rounding {
        match self.options.solver {
            Solver::Nearest => Rounding::Nearest,
            _ => Rounding::Learned(self.options),
        }
    }

    /// Returns whether codes are searched for by statistics of the layers' inputs.
    pub(crate) fn looks_at_inputs(&self) -> bool {
        matches!(self.options.objective, Objective::Activations { .. })
    }

    /// Returns the correction of the biases of converted layers.
    pub fn bias_correction(&self) -> BiasCorrection {
        self.bias_correction
    }

    /// Returns how the scales of a weight are chosen: as the recipe says, else by what serves the
    /// scheme best with what is known of the inputs.
    ///
    /// - `has_inputs`: whether the weight's codes are searched with statistics of its inputs
    pub fn scale_rule(&self, scheme: Scheme, has_inputs: bool) -> ScaleRule {
        let usual = if has_inputs { scheme.scale_rule_for_inputs() } else { ScaleRule::default() };
        self.scale_rule.unwrap_or(usual)
    }

    /// Returns how scales are chosen where nothing is known of inputs.
    pub(crate) fn scale_rule_without_inputs(&self) -> ScaleRule {
        self.scale_rule.unwrap_or_default()
    }

    /// Returns the kind that was insisted on, whatever the file looks like.
    pub fn insisted_kind(&self) -> Option<FileKind> {
        self.kind
    }

    /// Returns what becomes of names that are not the model's own; `None` leaves it to the file, see
    /// [`Names`].
    pub fn names(&self) -> Option<Names> {
        self.names
    }

    /// Returns the preset that was asked for; `None` leaves the choice to detection.
    pub fn preset(&self) -> Option<&'static Preset> {
        self.preset
    }

    /// Returns whether the base keep-list applies.
    pub fn uses_base_list(&self) -> bool {
        !self.file.ignore_base_list.unwrap_or(false)
    }

    /// Returns the layers that distilled Chroma models need, where they are to be kept.
    pub fn distillation(&self) -> Option<&'static Preset> {
        match self.file.keep_distillation {
            Some(true) => Preset::by_name("distillation_large").ok(),
            _ => None,
        }
    }

    /// Returns the layers to keep.
    pub fn keep(&self) -> &[Regex] {
        &self.keep
    }

    /// Returns the layers to convert although a preset or a size rule keeps them.
    pub fn include(&self) -> &[Regex] {
        &self.include
    }

    /// Returns the layers with a scheme of their own.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the schemes of layers that have one by name.
    pub fn assigned(&self) -> &BTreeMap<String, Scheme> {
        &self.assigned
    }

    /// Returns the scheme of layers that the model's preset keeps; `None` keeps them.
    pub fn fallback_scheme(&self) -> Option<Scheme> {
        self.fallback_scheme
    }

    /// Adapters that are added before rounding, each with its strength.
    pub fn adapters(&self) -> &[(PathBuf, f32)] {
        &self.adapters
    }

    /// Returns whether keys of adapters may belong to no weight.
    pub fn allows_unmatched_lora(&self) -> bool {
        self.file.allow_unmatched_lora.unwrap_or(false)
    }

    /// Returns the layers to be multiplied in full precision.
    pub fn full_precision(&self) -> &[Regex] {
        &self.full_precision
    }

    /// Returns the changes to a file whose weights stay as they are.
    pub(crate) fn edit(&self) -> &Edit {
        &self.edit
    }

    /// Returns whether the output's header says how it was made.
    pub fn tells_provenance(&self) -> bool {
        self.file.provenance.unwrap_or(true)
    }

    /// Returns the fewest elements of a weight that is converted.
    pub fn min_size(&self) -> u64 {
        self.file.min_size.unwrap_or_else(|| default_min_size(self.method()))
    }

    /// Returns the size rules, if any.
    pub fn heuristic(&self) -> Option<Heuristic> {
        self.heuristic
    }
}

/// Returns the scheme where none is named.
fn default_scheme(program: Option<Program>, layout: Option<Layout>) -> &'static str {
    // The layout first, where one is named: it has schemes of its own, whichever program reads it.
    match layout {
        Some(Layout::Fp8) => "fp8-block-128",
        Some(Layout::CompressedTensors | Layout::ModelOpt) => "fp8-row",
        Some(Layout::Mxfp4) => "mxfp4",
        Some(Layout::Comfy | Layout::ComfyLegacy) => "fp8",
        None if program.is_some_and(Program::is_server) => "fp8-row",
        None => "fp8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        match RecipeFile::from_toml(text).and_then(Recipe::check) {
            Ok(_) => vec![],
            Err(error) => error.complaints.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_complaint_is_collected_with_its_path() {
        let found = complaints(
            "scheme = 'fp9'\nlayout = 'x'\nkeep = ['a', '(']\nrules = [{pattern = '[', scheme = \
             'int8'}]\nheuristic = 'clever'\npreset = 'nobody'\nscale_rule = 'min'",
        );
        for path in
            ["scheme", "layout", "keep[1]", "rules[0].pattern", "heuristic", "preset", "scale_rule"]
        {
            assert!(found.iter().any(|line| line.starts_with(path)), "{path}: {found:#?}");
        }
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn a_complaint_names_its_setting() {
        let text = "method = 'tpec'\nmethod_options = { max_k = 3 }\nrules = [{ pattern = 'a', \
                    scheme = 'x' }]";
        let error = RecipeFile::from_toml(text).unwrap().check().unwrap_err();
        let told = serde_json::to_value(&error.complaints).unwrap();
        assert_eq!(told[0]["setting"], "method_options.max_k");
        assert_eq!(
            told[0]["problem"],
            "does not apply to method `tpec`: it takes exactly `method_options.top_k` singular vectors"
        );
        assert_eq!(told[1]["setting"], "rules[0].scheme");
    }

    #[test]
    fn every_scheme_is_a_recipe() {
        for entry in roundwise_scheme::CATALOG {
            assert_eq!(Recipe::new(entry.scheme).unwrap().scheme().to_string(), entry.name);
        }
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let found = complaints("shceme = 'fp8'");
        assert!(found[0].contains("shceme"), "{found:?}");
    }

    #[test]
    fn a_layout_refuses_schemes_that_it_cannot_store() {
        let found = complaints("scheme = 'int8'\nlayout = 'comfy-legacy'");
        assert!(found[0].contains("comfy-legacy"), "{found:?}");
    }

    #[test]
    fn small_weights_are_those_of_the_method_unless_asked() {
        let min_size =
            |text: &str| RecipeFile::from_toml(text).unwrap().check().unwrap().min_size();
        assert_eq!(min_size(""), 0);
        assert_eq!(min_size("method = 'adaround-fast'"), 1024);
        assert_eq!(min_size("method = 'adaround-fast'\nmin_size = 7"), 7);
    }

    #[test]
    fn flags_lie_on_top_of_the_file() {
        let file = RecipeFile::from_toml("scheme = 'int8'\nkeep = ['a']").unwrap();
        let flags =
            RecipeFile { scheme: Some("fp8".into()), keep: vec!["b".into()], ..Default::default() };
        let merged = file.overlaid_with(flags).unwrap();
        assert_eq!(merged.scheme.as_deref(), Some("fp8"));
        assert_eq!(merged.keep, ["b", "a"]);
    }
}
