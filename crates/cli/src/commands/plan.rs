use std::num::NonZeroUsize;

use roundwise_convert::{
    ConvertError, Decision, NotFinite, Opens, Pace, Plan, PlannedTensor, Recipe, SchemeConsumer,
    Source, TensorReport, explain,
};
use serde_json::json;

use crate::arguments::PlanOptions;
use crate::console::{print, print_json, width};
use crate::table::Table;
use crate::text::{bytes, counted, plain, shape, wrap};

pub(crate) fn run(options: &PlanOptions) -> anyhow::Result<bool> {
    let statistics = options.statistics.to_file();
    let recipe = options.recipe.to_recipe_file(statistics.as_ref())?;
    let recipe = Recipe::check(recipe).map_err(ConvertError::from)?;
    let source = Source::open_with(&options.input, &recipe)?;
    if let Some(layer) = &options.explain {
        return explain_layer(options, &source, &recipe, layer);
    }
    let mut plan = Plan::decide(&source, &recipe, &NotFinite::new())?;
    plan.note_missing_statistics(&recipe, statistics.as_ref(), &source)?;
    let threads = options.run.threads();
    let pace = plan.pace(&options.input, &recipe, threads, options.memory_limit)?;
    let sizes = Sizes::of(&source, &plan, pace)?;
    if options.run.json {
        print_json(&as_json(&plan, &sizes))?;
    } else if !options.run.quiet {
        print(&describe(&plan, &sizes))?;
    }
    Ok(true)
}

/// Who was asked about a layer, in order; an arrow at the one that decides.
fn explain_layer(
    options: &PlanOptions,
    source: &Source,
    recipe: &Recipe,
    layer: &str,
) -> anyhow::Result<bool> {
    let explained = explain(source, recipe, layer)?;
    let outcome = becomes(&explained.decision);
    if options.run.json {
        let steps: Vec<_> = explained
            .steps
            .iter()
            .map(
                |step| json!({"asked": step.asked, "answer": step.answer, "decides": step.decides}),
            )
            .collect();
        print_json(&json!({
            "tensor": explained.tensor,
            "becomes": outcome,
            "reason": explained.decision.reason().to_string(),
            "steps": steps,
        }))?;
        return Ok(true);
    }
    let reason = explained.decision.reason();
    let mut text = format!("{}: {outcome}, {reason}\n", plain(&explained.tensor));
    let mut table = Table::new(&["", "asked", "answer"]);
    for step in &explained.steps {
        let arrow = if step.decides { "→" } else { "" };
        table.row(vec![arrow.to_owned(), step.asked.clone(), step.answer.clone()]);
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
    fn of(source: &Source, plan: &Plan, pace: Pace) -> anyhow::Result<Self> {
        Ok(Self {
            input_bytes: source.checkpoint.total_bytes(),
            output_bytes: plan.manifest()?.file_bytes(),
            peak_memory_bytes: pace.peak_bytes,
            threads: pace.threads,
            banded: pace.bands.len(),
        })
    }
}

fn as_json(plan: &Plan, sizes: &Sizes) -> serde_json::Value {
    let consumers = plan.consumers();
    let clients: Vec<_> = consumers.iter().filter_map(|it| it.answer.program()).collect();
    let tensors: Vec<_> = plan
        .tensors
        .iter()
        .map(|planned| {
            let report = TensorReport::planned(planned);
            json!({
                "name": report.name,
                "shape": report.shape,
                "dtype": report.dtype,
                "decision": report.decision,
                "scheme": report.scheme.map(|scheme| scheme.to_string()),
                "reason": report.reason,
            })
        })
        .collect();
    json!({
        "architecture": plan.subject.detected.main.title,
        "kind": plan.subject.kind(),
        "dialect": plan.subject.detected.dialect,
        "evidence": plan.subject.detected.main.evidence,
        "preset": plan.preset.name,
        "layout": plan.layout.to_string(),
        "clients": clients,
        "consumers": consumers,
        "notes": plan.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "input_bytes": sizes.input_bytes,
        "output_bytes": sizes.output_bytes,
        "disk_bytes": sizes.output_bytes,
        "peak_memory_bytes": sizes.peak_memory_bytes,
        "threads": sizes.threads,
        "weights_by_bands": sizes.banded,
        "tensors": tensors,
    })
}

fn describe(plan: &Plan, sizes: &Sizes) -> String {
    let model = &plan.subject.detected.main;
    let mut text = format!("model: {} (preset {})\n", model.title, plan.preset.name);
    for key in &model.evidence {
        text += &format!("  because of `{}`\n", plain(key));
    }
    text += &describe_tensors(&plan.tensors, width());
    for note in &plan.notes {
        text += &format!("note: {}\n", plain(&note.to_string()));
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

/// A table, or where it does not fit two lines for each tensor: names must be legible in full, for
/// `--keep` and the like.
fn describe_tensors(tensors: &[PlannedTensor], width: usize) -> String {
    let mut table = Table::new(&["tensor", "shape", "dtype", "becomes", "why"]);
    for planned in tensors {
        table.row(vec![
            planned.header.name.clone(),
            shape(&planned.header.shape),
            planned.header.stored_as().to_owned(),
            becomes(&planned.decision),
            planned.decision.reason().to_string(),
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
    let fate = format!(
        "{} {} → {}: {}",
        header.stored_as(),
        shape(&header.shape),
        becomes(&planned.decision),
        planned.decision.reason()
    );
    let mut text = format!("  {}\n", plain(&header.name));
    for line in wrap(&plain(&fate), width.saturating_sub(INDENT)) {
        text += &format!("{}{line}\n", " ".repeat(INDENT));
    }
    text
}

fn becomes(decision: &Decision) -> String {
    match decision {
        Decision::Copy(_) => "kept".to_owned(),
        Decision::Decode { dtype, .. } => dtype.to_string(),
        Decision::Correct(_) => "corrected".to_owned(),
        Decision::Merge(_) => "kept, merged".to_owned(),
        Decision::Remove(_) => "removed".to_owned(),
        Decision::Rename { name, .. } => format!("rename to {name}"),
        Decision::Quantize { scheme, .. } | Decision::Repack { scheme, .. } => scheme.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundwise_convert::RecipeFile;
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
        let plan = Plan::decide(&source, &recipe, &NotFinite::new()).unwrap();
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
