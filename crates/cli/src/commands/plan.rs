use std::num::NonZeroUsize;

use roundwise_convert::{
    ConvertError, Decision, NotFinite, Plan, Recipe, Source, TensorReport, client,
};
use serde_json::json;

use crate::arguments::PlanOptions;
use crate::console::{print, print_json, width};
use crate::table::Table;
use crate::text::{bytes, counted, plain, shape};

pub(crate) fn run(options: &PlanOptions) -> anyhow::Result<bool> {
    let recipe = Recipe::check(options.recipe.to_recipe_file()?).map_err(ConvertError::from)?;
    let source = Source::open(&options.input)?;
    let plan = Plan::decide(&source, &recipe, &NotFinite::new())?;
    let sizes = Sizes::of(&source, &plan, options.run.threads())?;
    if options.run.json {
        print_json(&as_json(&plan, &sizes))?;
    } else if !options.run.quiet {
        print(&describe(&plan, &sizes))?;
    }
    Ok(true)
}

struct Sizes {
    input_bytes: u64,
    output_bytes: u64,
    peak_memory_bytes: u64,
    threads: NonZeroUsize,
}

impl Sizes {
    fn of(source: &Source, plan: &Plan, threads: NonZeroUsize) -> anyhow::Result<Self> {
        Ok(Self {
            input_bytes: source.checkpoint.total_bytes(),
            output_bytes: plan.manifest()?.file_bytes(),
            peak_memory_bytes: plan.peak_memory_bytes(threads.get()),
            threads,
        })
    }
}

fn as_json(plan: &Plan, sizes: &Sizes) -> serde_json::Value {
    let clients: Vec<_> =
        plan.schemes().into_iter().map(|scheme| client(plan.layout, scheme).name).collect();
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
                "scheme": report.scheme,
                "reason": report.reason,
            })
        })
        .collect();
    json!({
        "architecture": plan.detected.main.title,
        "evidence": plan.detected.main.evidence,
        "preset": plan.preset.name,
        "layout": plan.layout.to_string(),
        "clients": clients,
        "notes": plan.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "input_bytes": sizes.input_bytes,
        "output_bytes": sizes.output_bytes,
        "disk_bytes": sizes.output_bytes,
        "peak_memory_bytes": sizes.peak_memory_bytes,
        "threads": sizes.threads,
        "tensors": tensors,
    })
}

fn describe(plan: &Plan, sizes: &Sizes) -> String {
    let mut text = format!("model: {} (preset {})\n", plan.detected.main.title, plan.preset.name);
    for key in &plan.detected.main.evidence {
        text += &format!("  because of `{}`\n", plain(key));
    }
    let mut table = Table::new(&["tensor", "shape", "dtype", "becomes", "why"]);
    for planned in &plan.tensors {
        let becomes = match planned.decision {
            Decision::Copy(_) => "kept".to_owned(),
            Decision::Decode(_) => "BF16".to_owned(),
            Decision::Remove(_) => "removed".to_owned(),
            Decision::Quantize { scheme, .. } => scheme.to_string(),
        };
        table.row(vec![
            planned.header.name.clone(),
            shape(&planned.header.shape),
            planned.header.dtype.name().to_owned(),
            becomes,
            planned.decision.reason().to_string(),
        ]);
    }
    text += &table.render(width());
    for note in &plan.notes {
        text += &format!("note: {}\n", plain(&note.to_string()));
    }
    for scheme in plan.schemes() {
        text += &format!("{scheme} is opened by {}\n", client(plan.layout, scheme).name);
    }
    text += &format!(
        "{} → {} on disk; at most {} of memory with {}\n",
        bytes(sizes.input_bytes),
        bytes(sizes.output_bytes),
        bytes(sizes.peak_memory_bytes),
        counted(sizes.threads.get(), "thread"),
    );
    text
}
