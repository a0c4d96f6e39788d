use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;
use roundwise_layout::{Layout, QUANTIZATION_METADATA};
use roundwise_rounding::{BiasCorrection, MethodError, Options, Problem, Solver, WhyNot};
use roundwise_scheme::{ScaleRule, Scheme, is_meant};

use crate::model::Preset;
use crate::recipe::adapter::parse_adapter;
use crate::recipe::complaint::Complaint;
use crate::recipe::edit::{Edit, PROVENANCE_KEY};
use crate::recipe::edit_file::EditFile;
use crate::recipe::file::{AssignmentFile, RecipeFile, RuleFile};
use crate::recipe::inputs::InputScales;
use crate::recipe::names::Names;
use crate::recipe::plain_dtype::PlainDtype;
use crate::recipe::program::Program;
use crate::recipe::purpose::Purpose;
use crate::recipe::rule::Rule;
use crate::recipe::setting::Setting;
use crate::recipe::text::Text;

/// The method where none is named.
pub(crate) const NEAREST: &str = "nearest";

/// Checks the typed settings of a recipe, and collects complaints about them.
pub(crate) struct Checker<'a> {
    file: &'a RecipeFile,
    pub(crate) complaints: Vec<Complaint>,
}

impl<'a> Checker<'a> {
    pub(crate) fn of(file: &'a RecipeFile) -> Self {
        Self { file, complaints: vec![] }
    }

    fn complain(&mut self, setting: impl Into<Setting>, problem: impl Into<Text>) {
        self.complaints.push(Complaint::about(setting, problem));
    }

    pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        name: &str,
    ) -> Option<T> {
        name.parse().map_err(|error: T::Err| self.complain(key, error.to_string())).ok()
    }

    /// Looks a name up among choices. Returns `None` where no name is given; an unknown one is a
    /// complaint.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &str,
        name: Option<&str>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let name = name?;
        let found = choices.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            let meant = is_meant(name, known.iter().copied());
            self.complain(key, format!("unknown `{name}`{meant}\n  known: {}", known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn purpose(&mut self) -> Purpose {
        let file = self.file;
        let dtype = file.decode_to.as_deref().and_then(|name| self.plain_dtype(name));
        let purposes = [
            ("decode_to", dtype.map(Purpose::Decode), "codes become plain numbers"),
            ("migrate_to", file.migrate_to.as_ref().map(|_| Purpose::Migrate), "codes stay"),
            ("edit", file.edit.as_ref().map(|_| Purpose::Edit), "codes stay"),
            ("repair", (file.repair == Some(true)).then_some(Purpose::Repair), "codes stay"),
        ];
        // A setting that would do nothing is refused, since whoever names it expects it to do something.
        let others = file.keys_of_quantizing();
        let mut named = purposes.into_iter().filter_map(|(key, it, why)| Some((key, it?, why)));
        let Some((key, purpose, why)) = named.next() else { return Purpose::Quantize };
        for (other, ..) in named {
            let problem = Text::from("does not go together with ") + Setting::new(key).quoted();
            self.complain(other, problem);
        }
        // The program is who reads the layout that codes move to, too.
        let is_idle = |other: &String| purpose != Purpose::Migrate || other != "for";
        for other in others.into_iter().filter(is_idle) {
            let with = Text::from("is about quantizing; with ") + Setting::new(key).quoted();
            self.complain(other.as_str(), with + " " + why);
        }
        purpose
    }

    /// Returns how many devices share a layer out.
    pub(crate) fn tensor_parallel(&mut self, layout: Layout) -> usize {
        match self.file.tensor_parallel {
            None => 1,
            Some(0) => {
                self.complain("tensor_parallel", "is 0; 1 is a single device");
                1
            }
            Some(_) if !layout.is_for_servers() => {
                self.complain("tensor_parallel", format!("does not apply to layout `{layout}`"));
                1
            }
            // A device gets whole blocks of the intermediate size, the last one fewer: `load_weights` of gpt-oss in vLLM
            // and SGLang.
            Some(_) if layout.is_of_transposed_banks() => {
                let why = "servers share its blocks out over any number of devices";
                self.complain(
                    "tensor_parallel",
                    format!("changes nothing in layout `{layout}`: {why}"),
                );
                1
            }
            Some(devices) => devices as usize,
        }
    }

    /// Returns where scales of inputs come from.
    pub(crate) fn inputs(&mut self, layout: Layout, schemes: &[Scheme]) -> InputScales {
        let named = self.choice("inputs", self.file.inputs.as_deref(), &InputScales::NAMES);
        let named = named.unwrap_or_default();
        let has_place = schemes.iter().any(|scheme| layout.input_scale(*scheme).is_some());
        if named == InputScales::Static && !has_place {
            let schemes = schemes.iter().map(|scheme| format!("`{scheme}`")).collect::<Vec<_>>();
            let usual = match self.file.scheme {
                Some(_) => "",
                None => ", which is meant where no scheme is named",
            };
            let problem = format!(
                "layout `{layout}` stores no scales of inputs for {}{usual}\n  `fp8` and `nvfp4` have them in the layouts \
                 `compressed-tensors` and `modelopt`",
                schemes.join(", ")
            );
            self.complain("inputs", problem);
        }
        let needy = schemes.iter().find(|scheme| layout.needs_input_scale(**scheme));
        if let Some(scheme) = needy.filter(|_| named == InputScales::Dynamic) {
            let problem = format!(
                "programs open `{scheme}` in layout `{layout}` only with stored scales of inputs: they are `static`, \
                 from statistics\n  `fp8-row` needs none, nor does layout `compressed-tensors`"
            );
            self.complain("inputs", problem);
        }
        named
    }

    /// Complains about a layout that is not for the program that was named.
    pub(crate) fn agree(&mut self, layout: Layout) {
        let Some(named) = self.file.program.as_deref() else { return };
        // An unknown one is complained about where it is looked up.
        let known = Program::NAMES.iter().find(|(name, _)| *name == named);
        let Some((_, program)) = known else { return };
        let title = program.title();
        if program.is_server() != layout.is_for_servers() {
            match (&self.file.layout, &self.file.scheme) {
                // One that is none has a complaint of its own.
                (None, Some(scheme)) if scheme.parse::<Scheme>().is_err() => {}
                // No layout was named: the scheme implied it.
                (None, Some(scheme)) => {
                    let problem =
                        format!("`{scheme}` is stored as `{layout}`, which {title} does not read");
                    self.complain("scheme", problem);
                }
                _ => {
                    let problem =
                        format!("is `{layout}`, which {title} does not read\n  leave it out: ");
                    let problem =
                        Text::from(problem) + Setting::new("for").quoted() + " implies one";
                    self.complain("layout", problem);
                }
            }
        }
    }

    /// Returns what becomes of names: kept with weights that stay what they are, unless somebody says
    /// so; `None` leaves it to the file.
    pub(crate) fn names(&mut self, purpose: Purpose) -> Option<Names> {
        let file = self.file;
        let named = self.choice("names", file.names.as_deref(), &Names::NAMES);
        match purpose {
            Purpose::Migrate | Purpose::Repair | Purpose::Edit
                if named == Some(Names::Translate) =>
            {
                self.complain("names", "stay what they are where codes do");
            }
            Purpose::Migrate | Purpose::Repair | Purpose::Edit => {}
            Purpose::Quantize => return named,
            Purpose::Decode(_) => return named.or(Some(Names::Keep)),
        }
        Some(Names::Keep)
    }

    /// Looks a dtype up, also by the names that other programs have for it.
    fn plain_dtype(&mut self, name: &str) -> Option<PlainDtype> {
        let name = match name {
            "fp16" => "f16",
            "fp32" => "f32",
            name => name,
        };
        self.choice("decode_to", Some(name), &PlainDtype::NAMES)
    }

    pub(crate) fn method(&mut self) -> Option<(Options, BiasCorrection)> {
        let file = self.file;
        let name = file.method.as_deref().unwrap_or(NEAREST);
        let asked = &file.method_options;
        let both = Options::of_method(name, asked)
            .and_then(|options| Ok((options, BiasCorrection::of_method(name, asked)?)));
        let complaints = |error: MethodError| error.complaints.into_iter().map(of_method);
        both.map_err(|error| self.complaints.extend(complaints(error))).ok()
    }

    pub(crate) fn preset(&mut self) -> Option<&'static Preset> {
        let name = self.file.preset.as_deref()?;
        Preset::by_name(name).map_err(|error| self.complain("preset", error.to_string())).ok()
    }

    pub(crate) fn patterns(&mut self, key: &str, patterns: &[String]) -> Vec<Regex> {
        let patterns = patterns.iter().enumerate();
        let compiled = patterns.map(|(index, text)| (Setting::new(key).at(index), text));
        compiled.filter_map(|(setting, text)| self.pattern(setting, text)).collect()
    }

    fn pattern(&mut self, setting: Setting, pattern: &str) -> Option<Regex> {
        let indented = |error: regex::Error| error.to_string().replace('\n', "\n  ");
        Regex::new(pattern).map_err(|error| self.complain(setting, indented(error))).ok()
    }

    pub(crate) fn adapters(&mut self) -> Vec<(PathBuf, f32)> {
        let file = self.file;
        if file.allow_unmatched_lora == Some(true) && file.merge_lora.is_empty() {
            let needs = Setting::new("merge_lora").quoted();
            let problem = Text::from("changes nothing without ") + needs;
            self.complain("allow_unmatched_lora", problem);
        }
        let parsed = file.merge_lora.iter().enumerate().map(|(index, text)| {
            let setting = Setting::new("merge_lora").at(index);
            parse_adapter(text).map_err(|problem| Complaint::about(setting, problem))
        });
        let (adapters, complaints): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
        self.complaints.extend(complaints.into_iter().filter_map(Result::err));
        adapters.into_iter().filter_map(Result::ok).collect()
    }

    pub(crate) fn rules(&mut self, rules: &[RuleFile]) -> Vec<Rule> {
        let mut checked = vec![];
        for (index, rule) in rules.iter().enumerate() {
            let setting = Setting::new("rules").at(index);
            let pattern = self.pattern(setting.clone().field("pattern"), &rule.pattern);
            let place = setting.clone().field("scheme");
            let scheme = rule.scheme.parse::<Scheme>();
            let scheme = scheme.map_err(|error| self.complain(place, error.to_string())).ok();
            if let (Some(pattern), Some(scheme)) = (pattern, scheme) {
                // A later rule of the same pattern would never be asked.
                let other = checked.iter().find(|other: &&Rule| {
                    other.pattern.as_str() == pattern.as_str() && other.scheme != scheme
                });
                if let Some(other) = other {
                    let problem = format!("`{pattern}` is to be {scheme} and {}", other.scheme);
                    let problem = format!("{problem}: these contradict each other");
                    self.complain(setting, problem);
                }
                // Pushed in spite of it: other complaints may be about this rule as well.
                checked.push(Rule { pattern, scheme });
            }
        }
        checked
    }

    /// Returns the scheme of every layer that has one by name.
    pub(crate) fn assignments(&mut self, assign: &[AssignmentFile]) -> BTreeMap<String, Scheme> {
        let mut schemes = BTreeMap::new();
        for (index, AssignmentFile { scheme, layers }) in assign.iter().enumerate() {
            let setting = Setting::new("assign").at(index);
            let scheme = scheme.parse::<Scheme>();
            let place = setting.clone().field("scheme");
            let Some(scheme) = scheme.map_err(|error| self.complain(place, error.to_string())).ok()
            else {
                continue;
            };
            for layer in layers {
                if schemes.insert(layer.clone(), scheme).is_some_and(|other| other != scheme) {
                    let problem = format!("`{layer}` is to have two schemes");
                    self.complain(setting.clone().field("layers"), problem);
                }
            }
        }
        schemes
    }

    pub(crate) fn edit(&mut self) -> Edit {
        let Some(file) = &self.file.edit else { return Edit::default() };
        if *file == EditFile::default() {
            let [set, unset, full_precision, any_precision, input_scale] =
                ["set", "unset", "full_precision", "any_precision", "input_scale"]
                    .map(|key| Setting::new(format!("edit.{key}")).quoted());
            let header = Text::from("changes nothing by itself\n  name header entries (")
                + set
                + ", "
                + unset;
            let layers = header + ") or layers (" + full_precision + ", " + any_precision;
            self.complain("edit", layers + ", " + input_scale + ")");
        }
        for key in [QUANTIZATION_METADATA, PROVENANCE_KEY] {
            if file.set.contains_key(key) {
                self.complain("edit.set", format!("`{key}` is what this program writes itself"));
            }
        }
        Edit {
            set: file.set.clone(),
            unset: self.patterns("edit.unset", &file.unset),
            full_precision: self.patterns("edit.full_precision", &file.full_precision),
            any_precision: self.patterns("edit.any_precision", &file.any_precision),
            input_scale: self.patterns("edit.input_scale", &file.input_scale),
        }
    }

    /// Complains about schemes that the method or the rule for scales cannot work with, or that one
    /// file cannot hold together.
    pub(crate) fn combine(
        &mut self,
        scheme: Scheme,
        fallback: Option<Scheme>,
        rules: &[Rule],
        assigned: &BTreeMap<String, Scheme>,
        options: Options,
        scale_rule: ScaleRule,
    ) {
        let mut range = None;
        let all = self.places(Some(scheme), fallback, rules, assigned);
        if scale_rule == ScaleRule::Mse && !all.iter().any(|(_, scheme)| scheme.has_scales()) {
            self.complain("scale_rule", format!("`mse` searches for scales; `{scheme}` has none"));
        }
        for (place, scheme) in all {
            if options.solver != Solver::Nearest && !scheme.has_free_codes() {
                self.complain(
                    place.clone(),
                    format!(
                        "`{scheme}` stores levels of a table, which no search of codes can choose \
                         freely\n  use method `nearest`, or scheme `int4-convrot`"
                    ),
                );
            }
            if scheme.shares_scales() && scale_rule == ScaleRule::Mse {
                self.complain(
                    place.clone(),
                    format!(
                        "scale rule `mse` chooses a scale for every layer, `{scheme}` one for all \
                         of a module\n  use scale rule `absmax`, or `fp8-log-scales`"
                    ),
                );
            }
            // The first range is that of the file: others would need a marker of their own.
            if let Some(found) = scheme.log_range()
                && *range.get_or_insert(found) != found
            {
                self.complain(
                    place.clone(),
                    format!("`{scheme}` has another range of scales; a file tells one for all"),
                );
            }
        }
    }

    pub(crate) fn admit(
        &mut self,
        layout: Layout,
        scheme: Option<Scheme>,
        fallback: Option<Scheme>,
        rules: &[Rule],
        assigned: &BTreeMap<String, Scheme>,
    ) {
        for (place, scheme) in self.places(scheme, fallback, rules, assigned) {
            if let Err(error) = layout.admits(scheme) {
                self.complain(place, error.to_string());
            }
        }
    }

    /// Returns every scheme of the recipe, with the setting that names it.
    fn places(
        &self,
        scheme: Option<Scheme>,
        fallback: Option<Scheme>,
        rules: &[Rule],
        assigned: &BTreeMap<String, Scheme>,
    ) -> Vec<(Setting, Scheme)> {
        let single = [("scheme", scheme), ("fallback_scheme", fallback)];
        let single = single.into_iter().filter_map(|(key, scheme)| Some((key, scheme?)));
        let single = single.map(|(key, scheme)| (Setting::new(key), scheme));
        let rules = rules.iter().enumerate();
        let place = |index| Setting::new("rules").at(index).field("scheme");
        let rules = rules.map(|(index, rule)| (place(index), rule.scheme));
        let mut places: Vec<_> = single.chain(rules).collect();
        // One complaint for each scheme, not for each layer.
        let mut seen = vec![];
        for &scheme in assigned.values() {
            if !seen.contains(&scheme) {
                seen.push(scheme);
                places.push((Setting::new("assign"), scheme));
            }
        }
        places
    }
}

/// Turns a complaint of a method into one about a setting of the recipe.
fn of_method(complaint: roundwise_rounding::Complaint) -> Complaint {
    let setting = |name: &str| match name {
        "method" => Setting::new(name),
        name => Setting::new(format!("method_options.{name}")),
    };
    // Problems that name another setting; all others are plain words.
    let problem = match &complaint.problem {
        Problem::LessThan { found, other } => {
            Text::from(format!("{found} is less than ")) + setting(other).quoted()
        }
        Problem::Excludes { other } => {
            Text::from("does not go together with ") + setting(other).quoted()
        }
        Problem::DoesNotApply { method, why: WhyNot::ExactRank } => {
            let exactly = format!("does not apply to method `{method}`: it takes exactly ");
            Text::from(exactly) + setting("top_k").quoted() + " singular vectors"
        }
        problem => problem.to_string().into(),
    };
    Complaint::about(setting(complaint.setting), problem)
}
