//! Makes the recipe of the best file that keeps a budget.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_scheme::Scheme;

use crate::error::ConvertError;
use crate::plan::budget::{LayerOption, LayerOptions, Limit, OutOfReach, Problem, Solved};
use crate::plan::{
    Assignment, Budget, Card, Ineffective, Measure, NotFinite, Note, Plan, Predicted, Sensitivity,
};
use crate::recipe::{AssignmentFile, Command, Complaint, Recipe, RecipeFile, Setting, Text};
use crate::report::watch::Watch;
use crate::run::convert::Prepared;
use crate::run::job::Job;
use crate::run::sensitivity::{Measuring, SensitivityRequest, free_scheme};
use crate::source::{LayerInputs, Opens};

/// A budget for the output of a job.
#[derive(Clone, Debug)]
pub struct BudgetRequest<'a> {
    /// Input, output, recipe and statistics. The recipe's scheme is ignored.
    pub job: &'a Job,
    /// The limit.
    pub budget: Budget,
    /// The schemes to choose among; those that suit the card where none are named.
    pub schemes: &'a [Scheme],
    /// The card that the output is for.
    pub card: Card,
    /// File that keeps what layers lose in each scheme.
    pub cache: Option<&'a Path>,
}

/// The recipe of the best file that keeps a budget.
#[derive(Clone, Debug)]
pub struct Budgeted {
    /// The recipe, with every layer's scheme by name.
    pub recipe: Recipe,
    /// The schemes, what they lose, and why.
    pub assignment: Assignment,
    /// What is measured.
    pub measure: Measure,
    /// Weights that the file keeps for a NaN or an infinity.
    pub not_finite: NotFinite,
    /// File that keeps what was measured, if any.
    pub kept_in: Option<PathBuf>,
    /// Notes of settings that the choice of schemes leaves without effect.
    pub notes: Vec<Note>,
    /// Layers that were planned by a proxy, for their statistics lack what the measure needs.
    pub by_proxy: Vec<String>,
}

/// Chooses the schemes of all layers that a recipe converts, so that the file keeps the budget and is predicted
/// to lose least; its size is exact.
///
/// # Errors
/// As [`sensitivity`](crate::run::sensitivity()); [`ConvertError::Misfit`] for a budget that no file keeps,
/// that the input keeps by itself, or whose schemes the file's consumer does not open.
pub fn budget(request: &BudgetRequest<'_>, watch: &dyn Watch) -> Result<Budgeted, ConvertError> {
    let BudgetRequest { job, schemes, card, cache, .. } = *request;
    let mut measuring = Measuring::new(&SensitivityRequest { job, schemes, card, cache })?;
    let allowed = allowed(request, &measuring)?;
    // Sizes are known before anything is measured, and with them whether there is a solution.
    Search { request, measuring: &measuring, allowed: allowed.clone() }.check()?;
    let (sensitivity, mut not_finite) = measuring.measure(request.cache, watch)?;
    not_finite.extend(measuring.not_finite_of_others(watch)?);
    // What is kept for a NaN takes the bytes of its numbers, which the limit has to hold as well.
    measuring.keep(&not_finite)?;
    let search = Search { request, measuring: &measuring, allowed };
    search.run(&sensitivity)
}

/// Returns the schemes that the consumer opens. One that somebody named and that it does not open is refused.
fn allowed(
    request: &BudgetRequest<'_>,
    measuring: &Measuring,
) -> Result<Vec<Scheme>, ConvertError> {
    let mut allowed = vec![];
    let mut complaints = vec![];
    // What merely suits the card is left out without a word; what somebody named is refused with a
    // reason.
    for (scheme, plan) in measuring.schemes.iter().zip(measuring.prepared.plans()) {
        match plan.subject.opens(*scheme, plan.layout) {
            Opens::Yes { .. } | Opens::NotKnown { .. } => allowed.push(*scheme),
            Opens::No { reason, way_out } if !request.schemes.is_empty() => {
                let problem = format!("`{scheme}` is not to be opened: {reason}\n  {way_out}");
                complaints.push(Complaint::about(Setting::new("schemes"), problem));
            }
            Opens::No { .. } => {}
        }
    }
    match complaints.is_empty() {
        true => Ok(allowed),
        false => Err(ConvertError::Misfit { path: request.job.input.clone(), complaints }),
    }
}

struct Search<'a> {
    request: &'a BudgetRequest<'a>,
    measuring: &'a Measuring,
    allowed: Vec<Scheme>,
}

impl Search<'_> {
    fn run(&self, sensitivity: &Sensitivity) -> Result<Budgeted, ConvertError> {
        let measure = sensitivity.measure();
        let layers = layer_options(&self.measuring.prepared, Some(sensitivity));
        let problem = Problem::new(&layers, &self.allowed);
        let solved = self.solved(&problem, &layers)?;
        let file = self.file(&problem, &layers, &solved)?;
        // What the file has beside its layers, for this very mix: its header depends on it.
        let overhead = file.bytes - problem.total(&solved.options).0;
        let assignment = problem.describe(&solved, measure, overhead);
        let by_proxy = match measure {
            Measure::WeightError => vec![],
            Measure::Loss(_) | Measure::OutputError => {
                sensitivity.without_measure().into_iter().map(str::to_owned).collect()
            }
        };
        let not_finite = self.not_finite().clone();
        let kept_in = self.request.cache.map(Path::to_owned);
        Ok(Budgeted {
            notes: idle_settings(&self.request.job.recipe),
            recipe: file.recipe,
            assignment,
            measure,
            not_finite,
            kept_in,
            by_proxy,
        })
    }

    /// Refuses budgets that mean nothing for this input, or that no file keeps.
    fn check(&self) -> Result<(), ConvertError> {
        let input = &self.measuring.prepared.input;
        match self.request.budget {
            Budget::Size(bytes) => {
                let checkpoint = &input.source.checkpoint;
                let has = checkpoint.total_bytes();
                // Blocks of GGUF may take less than the smallest file that is made of them.
                if bytes >= has && !checkpoint.is_gguf() {
                    let problem = format!("{bytes} bytes are no less than the input has, {has}");
                    return Err(self.out_of_reach(problem));
                }
            }
            Budget::Loss(_) => {
                let curvature = input.statistics().and_then(LayerInputs::curvature);
                // The least loss shows only once the layers are measured, so that there is nothing
                // more to check.
                if curvature.is_some() {
                    return Ok(());
                }
                let problem = "a limit of the loss needs statistics with gradients\n  ";
                let way_out = Text::from(problem) + Command::Collector + " collects them";
                return Err(self.out_of_reach(way_out));
            }
            // Any number of bits is a limit; the solver finds out whether it can be kept.
            Budget::Bits(_) => {}
        }
        // Losses of 0: what the smallest file takes does not depend on them.
        let layers = layer_options(&self.measuring.prepared, None);
        self.solved(&Problem::new(&layers, &self.allowed), &layers).map(drop)
    }

    /// Returns which kept table takes much of the smallest file, where that is made of blocks of GGUF: codes of it
    /// would help.
    fn kept_table(&self) -> Option<Text> {
        let prepared = &self.measuring.prepared;
        let plan = prepared.plans().next()?;
        let is_of_gguf = prepared.input.source.checkpoint.is_gguf();
        let (layer, bytes) = plan.largest_table().filter(|_| is_of_gguf)?;
        let kept = format!("\n  `{layer}`, which is kept, has {bytes} of them; ");
        let include = Setting::new("include").quoted();
        Some(Text::from(kept) + include + format!(" `{layer}` makes codes of it"))
    }

    /// Returns the smallest file.
    fn smallest(
        &self,
        problem: &Problem<'_>,
        layers: &[LayerOptions],
    ) -> Result<(Solved, File), ConvertError> {
        // Nothing fits into 0 bytes. The refusal tells what the smallest takes, and within that it
        // is the solution.
        let smallest = match problem.solve(Limit::Bytes(0.0)) {
            Err(OutOfReach { least }) => problem.solve(Limit::Bytes(least)),
            solved => solved,
        };
        let smallest =
            smallest.map_err(|_| self.out_of_reach("there is no layer to choose a scheme for"))?;
        let file = self.file(problem, layers, &smallest)?;
        Ok((smallest, file))
    }

    fn solved(
        &self,
        problem: &Problem<'_>,
        layers: &[LayerOptions],
    ) -> Result<Solved, ConvertError> {
        let size = match self.request.budget {
            Budget::Loss(loss) => {
                return problem.solve(Limit::Loss(loss)).map_err(|OutOfReach { least }| {
                    self.out_of_reach(format!("{loss} is less than any file loses\n  the least is {least:.3e}; weights that are kept for another reason lose nothing"))
                });
            }
            Budget::Bits(bits) => {
                let bytes = bits * problem.elements() as f64 / 8.0;
                return problem.solve(Limit::Bytes(bytes)).map_err(|OutOfReach { least }| {
                    let least = 8.0 * least / problem.elements().max(1) as f64;
                    self.out_of_reach(format!("{bits} bits are too few\n  the least that the schemes for this program take is {least:.3}"))
                });
            }
            Budget::Size(size) => size,
        };
        // The header's length depends on the schemes, so that the rest of the file is found by trying.
        let (solved, smallest) = self.smallest(problem, layers)?;
        if size < smallest.bytes {
            return Err(self.too_small(size, smallest.bytes));
        }
        // The smallest file gives a first guess of it.
        let mut overhead = smallest.bytes - smallest.bytes_of_layers;
        // This ends, for the overhead grows with each turn: either the file fits, or the limit
        // falls below the smallest.
        loop {
            // In the end only the smallest file is left, which keeps the limit.
            let Some(limit) = size.checked_sub(overhead) else { return Ok(solved) };
            let Ok(next) = problem.solve(Limit::Bytes(limit as f64)) else { return Ok(solved) };
            let file = self.file(problem, layers, &next)?;
            match file.bytes.checked_sub(size) {
                None | Some(0) => return Ok(next),
                Some(excess) => overhead += excess,
            }
        }
    }

    fn too_small(&self, size: u64, least: u64) -> ConvertError {
        let kept: Vec<&str> = self.not_finite().keys().map(String::as_str).collect();
        let kept = match kept[..] {
            [] => String::new(),
            [name] => format!("; `{name}` is kept for a NaN or an infinity"),
            [name, ..] => {
                format!("; {} weights are kept for a NaN or an infinity: `{name}`, …", kept.len())
            }
        };
        let text = Text::from(format!(
            "{size} bytes are too few\n  the smallest file that the schemes for this program make has {least}{kept}"
        ));
        self.out_of_reach(text + self.kept_table().unwrap_or_default())
    }

    /// Returns the weights that every plan keeps for a NaN or an infinity.
    fn not_finite(&self) -> &NotFinite {
        &self.measuring.prepared.planned[0].not_finite
    }

    /// Plans the file of a solution.
    fn file(
        &self,
        problem: &Problem<'_>,
        layers: &[LayerOptions],
        solved: &Solved,
    ) -> Result<File, ConvertError> {
        let recipe = self.recipe(layers, solved)?;
        // Through the plan, and not by adding up: rules of the recipe, padding and the lengths of
        // names in the header all count.
        let job = Job { recipe, ..self.request.job.clone() };
        let plan = self.measuring.prepared.input.plan(&job, self.not_finite())?;
        let bytes = plan.manifest()?.file_bytes();
        let (bytes_of_layers, _) = problem.total(&solved.options);
        Ok(File { bytes, bytes_of_layers, recipe: job.recipe })
    }

    /// Returns the recipe of a solution: its scheme is that of most bytes, and the layers of the others
    /// are named.
    fn recipe(&self, layers: &[LayerOptions], solved: &Solved) -> Result<Recipe, ConvertError> {
        let mut by_scheme = BTreeMap::<String, (u64, Vec<String>)>::new();
        for (layer, &option) in layers.iter().zip(&solved.options) {
            let option = layer.options[option];
            let (bytes, names) = by_scheme.entry(option.scheme.to_string()).or_default();
            *bytes += option.bytes;
            names.push(layer.layer.clone());
        }
        // The scheme of most bytes is the recipe's own, which keeps the lists of names short.
        let most = by_scheme.iter().max_by_key(|(_, (bytes, _))| *bytes);
        let scheme = most.map(|(scheme, _)| scheme.clone());
        let assign = by_scheme.into_iter().filter(|(name, _)| Some(name) != scheme.as_ref());
        let assign = assign.map(|(scheme, (_, layers))| AssignmentFile { scheme, layers });
        let assign: Vec<AssignmentFile> = assign.collect();
        let file = RecipeFile { scheme, assign, ..self.request.job.recipe.file().clone() };
        Recipe::check(file).map_err(ConvertError::Recipe)
    }

    fn out_of_reach(&self, problem: impl Into<Text>) -> ConvertError {
        let setting = Setting::new(self.request.budget.key());
        let problem = Text::from(setting.clone()) + ": " + problem.into();
        let complaints = vec![Complaint::about(setting, problem)];
        ConvertError::Misfit { path: self.request.job.input.clone(), complaints }
    }
}

/// Returns notes of settings that name schemes which a budget chooses anew.
fn idle_settings(recipe: &Recipe) -> Vec<Note> {
    let file = recipe.file();
    let without = RecipeFile { scheme: None, ..file.clone() }.check();
    // A scheme that implied the layout is not idle.
    let is_idle = without.is_ok_and(|without| without.layout() == recipe.layout());
    let settings =
        [("scheme", file.scheme.is_some() && is_idle), ("assign", !file.assign.is_empty())];
    let idle = settings.into_iter().filter(|(_, is_idle)| *is_idle);
    let note = |(key, _)| Note::WithoutEffect {
        asked: Ineffective { setting: Setting::new(key), pattern: None },
        because: "changes nothing: a budget chooses the scheme of each layer",
    };
    idle.map(note).collect()
}

/// A file, as it would be.
struct File {
    bytes: u64,
    bytes_of_layers: u64,
    recipe: Recipe,
}

/// Returns all layers whose scheme is free, with what each would take and lose, in the order of the file; without
/// sensitivity losses are 0.
fn layer_options(prepared: &Prepared, sensitivity: Option<&Sensitivity>) -> Vec<LayerOptions> {
    let predicted = sensitivity.map(Sensitivity::predicted);
    let plans: Vec<&Plan> = prepared.plans().collect();
    let of_tensor = |index: usize| -> Option<LayerOptions> {
        let planned = &plans[0].tensors[index];
        // A layer that was not measured holds a NaN or an infinity. Every plan will keep it, so
        // that it has no options.
        let option = |plan: &Plan| {
            let planned = &plan.tensors[index];
            let scheme = free_scheme(planned)?;
            let predicted = match &predicted {
                Some(predicted) => *predicted.get(planned.layer())?.get(&scheme.to_string())?,
                None => Predicted { loss: 0.0, is_proxy: false },
            };
            Some(LayerOption { scheme, bytes: plan.output_bytes(planned), predicted })
        };
        let options: Vec<LayerOption> = plans.iter().copied().filter_map(option).collect();
        let elements = planned.shape.iter().product();
        let layer = planned.layer().to_owned();
        // Which layers are one stack follows from their names: any of the plans knows it.
        let stack = plans[0].scheme_group_of(&layer);
        (!options.is_empty()).then_some(LayerOptions { layer, stack, elements, options })
    };
    (0..plans[0].tensors.len()).filter_map(of_tensor).collect()
}
