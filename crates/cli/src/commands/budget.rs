//! Shared by the commands that keep a budget.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use roundwise_convert::Job;
use roundwise_convert::plan::{AssignedLayer, Assignment, BudgetFile, Exchange, TradeOff};
use roundwise_convert::run::{BudgetRequest, Budgeted, Target, budget, default_sensitivity};
use roundwise_convert::tensor_file::Overwrite;

use crate::arguments::{BudgetFlags, RunOptions};
use crate::console::width;
use crate::events::Events;
use crate::outcome::BadUsage;
use crate::progress::Progress;
use crate::table::Table;
use crate::text::{bytes, counted, path, plain};
use crate::typed::Typed;

/// Refuses flags that mean nothing without a limit.
pub(super) fn refuse_idle(flags: &BudgetFlags) -> anyhow::Result<()> {
    match flags.idle() {
        Some(flag) => bail!(BadUsage(format!(
            "{flag} does nothing by itself\n  name a limit: --size 12GB, --bits 6 or --loss 0.05"
        ))),
        None => Ok(()),
    }
}

/// Refuses `--events` where there is no limit whose search they could report.
pub(super) fn refuse_events(are_asked: bool) -> anyhow::Result<()> {
    match are_asked {
        true => bail!(BadUsage(
            "--events tells how a limit is kept\n  name one: --size 12GB, --bits 6 or --loss 0.05"
                .to_owned()
        )),
        false => Ok(()),
    }
}

/// Chooses the schemes of a job's layers within a limit.
pub(super) fn keep(
    flags: &BudgetFlags,
    file: &BudgetFile,
    job: &Job,
    typed: &Typed,
    run: &RunOptions,
    events: Option<&Events>,
) -> anyhow::Result<Budgeted> {
    let (limit, card) = file.check().map_err(|error| typed.error(error.into()))?;
    let cache = cache_of(flags.cache(), job);
    let request = BudgetRequest {
        job,
        budget: limit,
        schemes: flags.schemes(),
        card,
        cache: cache.as_deref(),
    };
    let result = match events {
        Some(events) => budget(&request, events),
        None => {
            let progress = Progress::new(&job.input, run.quiet || run.json);
            let result = budget(&request, &progress);
            // Before an error is printed, so that no bar stays above it.
            progress.finish();
            result
        }
    };
    result.map_err(|error| typed.error(error))
}

/// Returns the recipe in TOML.
pub(super) fn recipe(budgeted: &Budgeted) -> anyhow::Result<String> {
    budgeted.recipe.file().to_toml().map_err(|error| anyhow!("{error}"))
}

/// Describes in a few lines what was chosen.
pub(super) fn summary(budgeted: &Budgeted, typed: &Typed) -> String {
    let assignment = &budgeted.assignment;
    let file = &assignment.file;
    let mut text = format!(
        "budget: {} ({:.2} bits a weight), predicted loss {}, {}\n",
        bytes(file.bytes),
        file.bits,
        loss(file.loss),
        budgeted.measure.in_words(),
    );
    if !assignment.is_optimal {
        text += "  the best that was found; a little better ones may exist\n";
    }
    // A list, so that schemes come in the order of the layers.
    let mut schemes: Vec<(&str, usize, u64)> = vec![];
    for layer in &assignment.layers {
        match schemes.iter_mut().find(|(scheme, ..)| *scheme == layer.scheme) {
            Some((_, count, bytes)) => {
                *count += 1;
                *bytes += layer.bytes;
            }
            None => schemes.push((&layer.scheme, 1, layer.bytes)),
        }
    }
    for (scheme, count, size) in schemes {
        text += &format!("  {}: {scheme}, {}\n", counted(count, "weight"), bytes(size));
    }
    for better in assignment.better_uniform() {
        text += &format!(
            "note: `{}` for all layers would be {}, and lose {} instead\n",
            better.scheme.as_deref().unwrap_or_default(),
            bytes(better.bytes),
            loss(better.loss),
        );
    }
    for note in &budgeted.notes {
        text += &format!("note: {}\n", plain(&typed.text(&note.text())));
    }
    if let Some(kept) = &budgeted.kept_in {
        text += &format!("what was measured is kept for the next time in {}\n", path(kept));
    }
    text + &by_proxy(budgeted)
}

fn by_proxy(budgeted: &Budgeted) -> String {
    const SHOWN: usize = 3;
    let layers = &budgeted.by_proxy;
    if layers.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = layers.iter().take(SHOWN).map(|layer| format!("`{layer}`")).collect();
    let more = if layers.len() > SHOWN { ", …" } else { "" };
    format!(
        "note: {} without the statistics that the prediction needs, so that the weights' error \
         stands for it: {}{more}\n",
        counted(layers.len(), "layer"),
        shown.join(", ")
    )
}

/// Describes every choice and the trade-off.
pub(super) fn details(budgeted: &Budgeted) -> String {
    let assignment = &budgeted.assignment;
    let mut table =
        Table::new(&["layer", "scheme", "size", "loss", "larger would save", "smaller would cost"]);
    for layer in &assignment.layers {
        table.row(row(layer));
    }
    table.render(width()) + &trade_off(assignment)
}

fn row(layer: &AssignedLayer) -> Vec<String> {
    let proxy = if layer.is_proxy { " (by weights)" } else { "" };
    let exchange = |other: &Option<Exchange>| match other {
        Some(Exchange { scheme, loss: difference, bytes: size }) => {
            format!("{} for {} ({scheme})", loss(*difference), bytes(*size))
        }
        None => String::new(),
    };
    vec![
        layer.name.clone(),
        layer.scheme.clone(),
        bytes(layer.bytes),
        format!("{}{proxy}", loss(layer.loss)),
        exchange(&layer.larger),
        exchange(&layer.smaller),
    ]
}

/// Lists mixes and uniform schemes by size.
fn trade_off(assignment: &Assignment) -> String {
    let this = "this file".to_owned();
    let own = std::iter::once((&assignment.file, this));
    let mixes = assignment.curve.iter().map(|point| (point, "best mix".to_owned()));
    let uniform = assignment.uniform.iter().map(|point| {
        let scheme = point.scheme.as_deref().unwrap_or_default();
        (point, format!("{scheme} for all"))
    });
    let mut points: Vec<(&TradeOff, String)> = own.chain(mixes).chain(uniform).collect();
    // Of two equal sizes the worse one comes first, so that losses fall from line to line.
    points.sort_by(|(a, _), (b, _)| a.bytes.cmp(&b.bytes).then_with(|| b.loss.total_cmp(&a.loss)));
    let mut table = Table::new(&["size", "bits", "predicted loss", ""]);
    for (point, name) in points {
        let bits = format!("{:.2}", point.bits);
        table.row(vec![bytes(point.bytes), bits, loss(point.loss), name]);
    }
    table.render(width())
}

/// Formats a loss, which spans many powers of ten.
pub(super) fn loss(loss: f64) -> String {
    match loss {
        0.0 => "0".to_owned(),
        // Three digits; a power of ten only where one would have to count zeros.
        loss if (1e-3..1e4).contains(&loss) => {
            let digits = 2 - loss.log10().floor().min(2.0) as i32;
            format!("{loss:.*}", digits.max(0) as usize)
        }
        loss => format!("{loss:.2e}"),
    }
}

/// Returns the file that keeps what is measured; `None` where nobody named one and none can lie beside the input.
pub(super) fn cache_of(asked: Option<&PathBuf>, job: &Job) -> Option<PathBuf> {
    let beside = default_sensitivity(&job.input);
    let is_possible = Target::file(&beside, "the sensitivity", Overwrite::Replace).check().is_ok();
    asked.cloned().or_else(|| is_possible.then_some(beside))
}
