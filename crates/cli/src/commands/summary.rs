//! The summary of a conversion, for people.

use std::collections::BTreeMap;

use roundwise_convert::Report;
use roundwise_convert::layout::is_marker;
use roundwise_convert::plan::Action;
use roundwise_convert::report::{Prediction, RoundingTotals, TensorReport};
use roundwise_convert::source::{Opens, SchemeConsumer, UsedMoment};

use crate::console::width;
use crate::table::Table;
use crate::text::{bytes, counted, path, percent, plain, seconds};
use crate::typed::Typed;

/// Reasons for keeping tensors that the summary lists.
const REASONS_SHOWN: usize = 8;
/// Layers with the largest error that the summary lists.
const WORST_SHOWN: usize = 3;

/// Describes a conversion for people.
pub(super) fn describe(report: &Report, typed: &Typed) -> String {
    let mut text = format!("{} → {}\n", path(&report.input), path(&report.output));
    text += &format!(
        "  {} (preset {}): {}\n",
        report.architecture,
        report.preset,
        describe_counts(report)
    );
    text += &format!(
        "  {} → {} in {} (to disk {}{})\n",
        bytes(report.input_bytes),
        bytes(report.output_bytes),
        seconds(report.seconds),
        seconds(report.sync_seconds),
        report
            .verify_seconds
            .map(|spent| format!(", check {}", seconds(spent)))
            .unwrap_or_default(),
    );
    text += &describe_schemes(report);
    text += &report.prediction.as_ref().map(describe_prediction).unwrap_or_default();
    text += &report.rounding.as_ref().map(describe_outputs).unwrap_or_default();
    text += &report.rounding.as_ref().map(describe_rounding).unwrap_or_default();
    for note in &report.notes {
        text += &format!("  note: {}\n", plain(&typed.text(note)));
    }
    text += &describe_kept(report);
    text += &describe_worst(report);
    text
}

/// Describes how many tensors became what, in the terms of the command.
fn describe_counts(report: &Report) -> String {
    let Report {
        converted_tensors: converted,
        kept_tensors: kept,
        removed_tensors: removed,
        recipe,
        ..
    } = report;
    let count =
        |action: Action| report.tensors.iter().filter(|layer| layer.decision == action).count();
    let (moved, decoded) = (count(Action::Repack), count(Action::Decode));
    let rewritten = |verb: &str, layers: usize, side: &str| {
        let layers = counted(layers, "layer");
        let side = describe_side_tensors(report).map(|tensors| format!(", {tensors} {side}"));
        let kept = counted(*kept, "tensor");
        format!("{layers} {verb}{}, {kept} kept", side.unwrap_or_default())
    };
    if let Some(dtype) = &recipe.decode_to {
        return rewritten(&format!("decoded to {dtype}"), decoded, "left out");
    }
    if let Some(layout) = &recipe.migrate_to {
        return rewritten(&format!("moved to {layout}"), moved, "laid out anew");
    }
    match (&recipe.edit, recipe.repair) {
        (Some(_), _) => rewritten("edited", moved, "written anew"),
        (None, Some(true)) => rewritten("laid out anew", moved, "written anew or left out"),
        _ if decoded > 0 => {
            format!("{converted} converted, {decoded} decoded, {kept} kept, {removed} removed")
        }
        _ => format!("{converted} converted, {kept} kept, {removed} removed"),
    }
}

/// Describes the side tensors of layers that were stored anew: `6 scales and 6 markers`.
fn describe_side_tensors(report: &Report) -> Option<String> {
    let removed = report.tensors.iter().filter(|layer| layer.decision == Action::Remove);
    let (markers, scales): (Vec<_>, Vec<_>) = removed.partition(|layer| is_marker(&layer.name));
    let kinds = [(scales.len(), "scale"), (markers.len(), "marker")];
    let told = kinds.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, noun)| counted(count, noun)).collect();
    (!told.is_empty()).then(|| told.join(" and "))
}

/// Describes the layers of each scheme and who opens them.
fn describe_schemes(report: &Report) -> String {
    let line = |consumer: &SchemeConsumer| {
        let layers = report.tensors.iter().filter(|layer| layer.scheme == Some(consumer.scheme));
        let counted = counted(layers.count(), "weight");
        let SchemeConsumer { scheme, answer } = consumer;
        match answer {
            Opens::Yes { .. } => format!("  {counted}: {scheme}, {answer}\n"),
            Opens::No { .. } | Opens::NotKnown { .. } => {
                format!("  {counted}: {scheme}; {answer}\n")
            }
        }
    };
    report.consumers.iter().map(line).collect()
}

/// Describes what the file is predicted to lose.
fn describe_prediction(prediction: &Prediction) -> String {
    let unit = match prediction.measure.as_str() {
        "nats" => "nats per token (KL)",
        _ => "half the squared error of an output element",
    };
    let left_out = match prediction.left_out_layers {
        0 => String::new(),
        count => format!(", {} without gradients left out", counted(count, "layer")),
    };
    format!(
        "  predicted loss: {:.2e} {unit}, of {}{left_out}; {PREDICTIONS}\n",
        prediction.loss,
        counted(prediction.layers, "layer"),
    )
}

/// What `docs/quality.md` says of predictions: sums leave out what errors of several layers do together, and
/// rounding is judged by the inputs that it was fitted to.
const PREDICTIONS: &str = "for comparing files: true losses are larger";

/// Describes the benefit of input statistics: how the error of the outputs compares with that of
/// nearest codes.
fn describe_outputs(totals: &RoundingTotals) -> String {
    let (Some(stored), Some(nearest)) = (totals.output_error, totals.nearest_output_error) else {
        return String::new();
    };
    format!(
        "  outputs of layers: error² {} of nearest codes' ({stored:.3e}, nearest {nearest:.3e})\n",
        percent(ratio(stored, nearest)),
    )
}

fn ratio(stored: f64, nearest: f64) -> f64 {
    if nearest > 0.0 { stored / nearest } else { 1.0 }
}

/// Describes the effect of learned rounding over all weights.
fn describe_rounding(totals: &RoundingTotals) -> String {
    let objective = match totals.objective_ratio {
        Some(ratio) => format!("objective {} of nearest, ", percent(ratio)),
        None => String::new(),
    };
    let mut text = format!(
        "  method {} on {}: {objective}‖E‖ {:+.2} %; nearest codes stored for {} of {}\n",
        totals.method,
        totals.device,
        // Adding 0.0 turns −0.0 into 0.0.
        ((totals.weight_error_ratio - 1.0) * 1e4).round() / 100.0 + 0.0,
        totals.nearest_layers,
        counted(totals.layers, "weight"),
    );
    if let Some(choice) = &totals.device_choice {
        text += &format!("  auto stands for {}: {choice}\n", totals.device);
    }
    text += &describe_moments(totals);
    if totals.failed_layers > 0 {
        text += &format!(
            "  warning: the search of {} failed; nearest codes are stored (`--report` says why)\n",
            counted(totals.failed_layers, "weight"),
        );
    }
    if totals.cpu_layers > 0 {
        text += &format!(
            "  warning: {} failed for {}, which the CPU rounded (`--report` says why)\n",
            totals.device,
            counted(totals.cpu_layers, "weight"),
        );
    }
    if totals.tiled_layers > 0 {
        text += &format!(
            "  {} had no room for {}, and multiplied in tiles (`--report` says why)\n",
            totals.device,
            counted(totals.tiled_layers, "weight"),
        );
    }
    if !totals.is_reproducible {
        text += "  the last bits may differ from run to run on this device\n";
    }
    text
}

/// Describes which statistics of inputs counted, where they are more than those of the inputs as they are.
fn describe_moments(totals: &RoundingTotals) -> String {
    if totals.moments.iter().all(|count| count.moment == UsedMoment::Inputs) {
        return String::new();
    }
    let told = totals.moments.iter().map(|count| {
        let words = match count.moment {
            UsedMoment::Inputs => "inputs as they are",
            UsedMoment::Mixed => "inputs as attention mixes them",
            UsedMoment::Weighted => "inputs weighed with gradients",
        };
        format!("{} by {words}", counted(count.layers, "layer"))
    });
    format!("  rounded for: {}\n", told.collect::<Vec<_>>().join(", "))
}

fn describe_kept(report: &Report) -> String {
    // Sorted by action and reason, which decides between groups of equal size.
    let mut groups = BTreeMap::<(Action, &str), Vec<&str>>::new();
    let is_kept = |layer: &&TensorReport| layer.scheme.is_none();
    for layer in report.tensors.iter().filter(is_kept) {
        let group = groups.entry((layer.decision, layer.reason.as_str())).or_default();
        group.push(&layer.name);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    let mut table = Table::new(&["tensors", "", "because"]);
    for ((decision, reason), names) in groups.iter().take(REASONS_SHOWN) {
        let verb = match decision {
            Action::Quantize => "converted",
            Action::Copy => "kept",
            Action::Rename => "renamed",
            Action::Repack => "moved",
            Action::Decode => "decoded",
            Action::Correct => "corrected",
            Action::Merge => "merged",
            Action::Remove => "removed",
        };
        let because = match names[..] {
            [name] => format!("{reason}: {name}"),
            _ => (*reason).to_owned(),
        };
        table.row(vec![names.len().to_string(), verb.to_owned(), because]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render(width()) };
    if groups.len() > REASONS_SHOWN {
        text += &format!(
            "  and {} (`roundwise plan` lists all)\n",
            counted(groups.len() - REASONS_SHOWN, "more reason")
        );
    }
    text
}

/// Describes the layers that are worst off: by their outputs where there are statistics, else by
/// their weights.
fn describe_worst(report: &Report) -> String {
    let by_outputs = worst_outputs(report);
    let mut table = match by_outputs.is_empty() {
        true => Table::new(&["largest errors", "scheme", "‖E‖/‖W‖"]),
        false => Table::new(&["largest errors of outputs", "scheme", "‖E‖/‖W‖", "output error²"]),
    };
    let worst = report.worst_layers(WORST_SHOWN);
    let error = |error: Option<f64>| error.map(percent).unwrap_or_default();
    for layer in if by_outputs.is_empty() { &worst } else { &by_outputs } {
        let scheme = layer.scheme.map(|scheme| scheme.to_string()).unwrap_or_default();
        let mut cells = vec![layer.name.clone(), scheme, error(layer.weight_error)];
        cells.extend(output_errors(layer).map(|[stored, nearest]| {
            format!("{stored:.2e}, {} of nearest", percent(ratio(stored, nearest)))
        }));
        table.row(cells);
    }
    if report.weight_error.is_some() {
        let together = "all weights together".to_owned();
        // The table by outputs has one column more.
        let blank = (!by_outputs.is_empty()).then(String::new);
        let cells = [together, String::new(), error(report.weight_error)].into_iter().chain(blank);
        table.row(cells.collect());
    }
    if table.is_empty() {
        return String::new();
    }
    table.render(width())
}

/// Returns the output errors of the stored codes and of nearest ones.
fn output_errors(layer: &TensorReport) -> Option<[f64; 2]> {
    let rounding = layer.rounding.as_ref()?;
    Some([rounding.output_error?, rounding.nearest_output_error?])
}

/// Returns the layers whose outputs are furthest off, worst first.
fn worst_outputs(report: &Report) -> Vec<&TensorReport> {
    let mut judged: Vec<(f64, &TensorReport)> =
        report.tensors.iter().filter_map(|layer| Some((output_errors(layer)?[0], layer))).collect();
    judged.sort_by(|(a, first), (b, second)| {
        b.total_cmp(a).then_with(|| first.name.cmp(&second.name))
    });
    judged.into_iter().take(WORST_SHOWN).map(|(_, layer)| layer).collect()
}
