use std::num::NonZeroUsize;

use anyhow::anyhow;
use roundwise_convert::plan::{Assignment, Limits, NotFinite, PlanAnswer, PlannedTensor, explain};
use roundwise_convert::run::{Budgeted, default_output, limit_search_threads};
use roundwise_convert::source::{LayerInputs, Opens, SchemeConsumer, for_input};
use roundwise_convert::{ConvertError, Job, Plan, PlanRequest, RecipeFile, Source};
use serde::Serialize;

use crate::arguments::PlanOptions;
use crate::commands::budget;
use crate::console::{print, print_as_it_is, print_json, width};
use crate::events::{Events, tell_done, telling};
use crate::stop::{self, Work};
use crate::table::Table;
use crate::text::{bytes, counted, plain, shape, wrap};
use crate::typed::Typed;

pub(crate) fn run(options: &PlanOptions) -> anyhow::Result<bool> {
    telling(options.events, answer(options))
}

fn answer(options: &PlanOptions) -> anyhow::Result<bool> {
    let statistics = options.statistics.to_file();
    let (recipe, typed) = options.recipe.to_recipe_file(statistics.as_ref())?;
    let recipe = for_input(recipe, &options.input, None);
    let budgeted = within_budget(options, recipe.clone(), &typed)?;
    // Programs get the choice alone; people the plan that follows from it.
    if let (true, Some(budgeted)) = (options.events, &budgeted) {
        tell_done(&Chosen::of(budgeted));
        return Ok(true);
    }
    if options.print_recipe {
        let recipe = match &budgeted {
            Some(budgeted) => budget::recipe(budgeted)?,
            None => recipe.to_toml().map_err(|error| anyhow!("{error}"))?,
        };
        print_as_it_is(&recipe)?;
        return Ok(true);
    }
    let recipe = budgeted.as_ref().map_or(recipe, |budgeted| budgeted.recipe.file().clone());
    plan(options, recipe, budgeted.as_ref(), &typed).map_err(|error| typed.word(error))
}

/// Chooses the schemes that keep the limit of the output, where there is one.
fn within_budget(
    options: &PlanOptions,
    file: RecipeFile,
    typed: &Typed,
) -> anyhow::Result<Option<Budgeted>> {
    budget::refuse_idle(&options.budget)?;
    let Some(limit) = options.budget.to_file() else {
        budget::refuse_events(options.events)?;
        return Ok(None);
    };
    let recipe = file.check().map_err(|error| typed.error(error.into()))?;
    limit_search_threads(options.run.threads());
    stop::listen(Work::Search, options.run.quiet)?;
    // A job has a name for its output; nothing is written here.
    let output = default_output(&options.input, &recipe, Limits::default());
    let job = Job {
        threads: options.run.threads(),
        statistics: options.statistics.to_file(),
        ..Job::new(options.input.clone(), output, recipe)
    };
    let events = options.events.then(Events::listen);
    budget::keep(&options.budget, &limit, &job, typed, &options.run, events.as_ref()).map(Some)
}

fn plan(
    options: &PlanOptions,
    recipe: RecipeFile,
    budgeted: Option<&Budgeted>,
    typed: &Typed,
) -> anyhow::Result<bool> {
    let statistics = options.statistics.to_file();
    let recipe = recipe.check().map_err(|error| typed.error(error.into()))?;
    let source = Source::open_with(&options.input, &recipe)?;
    let inputs = LayerInputs::for_recipe(&recipe, statistics.as_ref(), &source)?;
    let all_finite = NotFinite::new();
    let request = PlanRequest {
        statistics: inputs.as_ref(),
        workers: options.run.threads().into(),
        limits: Limits { memory_bytes: options.memory_limit, ..Limits::default() },
        not_finite: budgeted.map_or(&all_finite, |it| &it.not_finite),
        ..PlanRequest::new(&source, &recipe)
    };
    if let Some(layer) = &options.explain {
        return explain_layer(options, &request, layer, typed);
    }
    let plan = Plan::decide(&request)?;
    if options.run.json {
        print_json(&PlanAnswer::new(&source, &plan, budgeted.map(|it| &it.assignment))?)?;
    } else if !options.run.quiet {
        let budget = budgeted
            .map(|it| budget::details(it) + &budget::summary(it, typed))
            .unwrap_or_default();
        print(&(describe(&plan, &Sizes::of(&source, &plan)?, typed) + &budget))?;
    }
    Ok(true)
}

/// Lists what was asked about a layer, in order, with an arrow at the answer that decides.
fn explain_layer(
    options: &PlanOptions,
    request: &PlanRequest<'_>,
    layer: &str,
    typed: &Typed,
) -> anyhow::Result<bool> {
    let explained = explain(request, layer)?;
    let planned = &explained.planned;
    let outcome = planned.becomes();
    if options.run.json {
        print_json(&explained)?;
        return Ok(true);
    }
    let because = planned.because();
    let mut text = format!("{}: {outcome}, {because}\n", plain(&planned.header.name));
    if !explained.made_of.is_empty() {
        text += &format!("  in the file: {}\n", plain(&explained.made_of.join(", ")));
    }
    let mut table = Table::new(&["", "asked", "answer"]);
    for step in &explained.steps {
        let arrow = if step.decides { "→" } else { "" };
        table.row(vec![arrow.to_owned(), typed.text(&step.asked), step.answer.clone()]);
    }
    text += &table.render(width());
    if !options.run.quiet {
        print(&text)?;
    }
    Ok(true)
}

struct Sizes {
    input_bytes: u64,
    output_bytes: u64,
    peak_memory_bytes: u64,
    threads: NonZeroUsize,
    banded: usize,
}

impl Sizes {
    fn of(source: &Source, plan: &Plan) -> Result<Self, ConvertError> {
        Ok(Self {
            input_bytes: source.checkpoint.total_bytes(),
            output_bytes: plan.manifest()?.file_bytes(),
            peak_memory_bytes: plan.memory.peak_bytes,
            threads: plan.memory.threads,
            banded: plan.memory.banded_weights,
        })
    }
}

/// How a limit is kept, for programs that show it.
#[derive(Serialize)]
struct Chosen<'a> {
    recipe: &'a RecipeFile,
    budget: &'a Assignment,
    by_proxy: &'a [String],
}

impl<'a> Chosen<'a> {
    fn of(budgeted: &'a Budgeted) -> Self {
        Self {
            recipe: budgeted.recipe.file(),
            budget: &budgeted.assignment,
            by_proxy: &budgeted.by_proxy,
        }
    }
}

fn describe(plan: &Plan, sizes: &Sizes, typed: &Typed) -> String {
    let model = &plan.subject.detected.main;
    let mut text = format!("model: {} (preset {})\n", model.title, plan.preset.name);
    for key in &model.evidence {
        text += &format!("  because of `{}`\n", plain(key));
    }
    text += &describe_tensors(&plan.tensors, width());
    for note in &plan.notes {
        text += &format!("note: {}\n", plain(&typed.text(&note.text())));
    }
    for SchemeConsumer { scheme, answer } in plan.consumers() {
        text += &match answer {
            Opens::Yes { .. } => format!("{scheme} is {answer}\n"),
            Opens::No { .. } | Opens::NotKnown { .. } => format!("{scheme}: {answer}\n"),
        };
    }
    let banded = match sizes.banded {
        0 => String::new(),
        count => format!(", {} by bands of rows", counted(count, "weight")),
    };
    text += &format!(
        "{} → {} on disk; at most {} of memory with {}{banded}\n",
        bytes(sizes.input_bytes),
        bytes(sizes.output_bytes),
        bytes(sizes.peak_memory_bytes),
        counted(sizes.threads.get(), "thread"),
    );
    text
}

/// Lists the tensors in a table, or in two lines each where it does not fit: names must be legible
/// in full, for `--keep` and the like.
fn describe_tensors(tensors: &[PlannedTensor], width: usize) -> String {
    let mut table = Table::new(&["tensor", "shape", "dtype", "becomes", "why"]);
    for planned in tensors {
        table.row(vec![
            planned.header.name.clone(),
            shape(&planned.header.shape),
            planned.header.stored_as().to_owned(),
            planned.becomes(),
            planned.because(),
        ]);
    }
    match table.fits(width) {
        true => table.render(width),
        false => tensors.iter().map(|planned| describe_tensor(planned, width)).collect(),
    }
}

fn describe_tensor(planned: &PlannedTensor, width: usize) -> String {
    const INDENT: usize = 6;
    let header = &planned.header;
    let line = format!(
        "{} {} → {}: {}",
        header.stored_as(),
        shape(&header.shape),
        planned.becomes(),
        planned.because()
    );
    let mut text = format!("  {}\n", plain(&header.name));
    for line in wrap(&plain(&line), width.saturating_sub(INDENT)) {
        text += &format!("{}{line}\n", " ".repeat(INDENT));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundwise_convert::Recipe;
    use roundwise_testkit::files::{Tensor, safetensors};
    use roundwise_testkit::weights::gaussian;

    #[test]
    fn names_are_whole_at_any_width() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let name = format!("{}.7.attention.output.weight", "encoder".repeat(8));
        let tensors =
            [Tensor::f32(&name, &gaussian(8, 8, 1)), Tensor::f32("b", &gaussian(1, 8, 1))];
        std::fs::write(&path, safetensors(&tensors)).unwrap();
        let source = Source::open(&path).unwrap();
        let recipe = Recipe::check(RecipeFile::default()).unwrap();
        let plan = Plan::decide(&PlanRequest::new(&source, &recipe)).unwrap();
        let narrow = describe_tensors(&plan.tensors, 80);
        assert_eq!(
            narrow,
            format!(
                "  b\n      F32 [1, 8] → kept: not a weight\n  {name}\n      F32 [8, 8] → fp8: \
                 linear weight\n"
            )
        );
        let wide = describe_tensors(&plan.tensors, 200);
        assert_eq!(wide.lines().count(), 3, "{wide}");
        assert!(wide.contains(&name) && wide.contains("becomes"));
    }
}
