use std::collections::BTreeMap;

use roundwise_convert::{Fate, Report, RoundingTotals, Scheme, TensorReport, client};

use crate::console::width;
use crate::table::Table;
use crate::text::{bytes, counted, path, percent, plain, seconds};

/// Reasons for keeping tensors that the summary lists.
const REASONS_SHOWN: usize = 8;
/// Layers with the largest error that the summary lists.
const WORST_SHOWN: usize = 3;

/// What a conversion did, for people.
pub(in crate::commands) fn describe(report: &Report) -> String {
    let mut text = format!("{} → {}\n", path(&report.input), path(&report.output));
    text += &format!(
        "  {} (preset {}): {}\n",
        report.architecture,
        report.preset,
        describe_counts(report)
    );
    text += &format!(
        "  {} → {} in {} (sync {}{})\n",
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
    text += &report.rounding.as_ref().map(describe_rounding).unwrap_or_default();
    for note in &report.notes {
        text += &format!("  note: {}\n", plain(note));
    }
    text += &describe_kept(report);
    text += &describe_worst(report);
    text
}

fn describe_counts(report: &Report) -> String {
    let Report { converted, kept, removed, .. } = report;
    let count = |fate: Fate| report.layers.iter().filter(|layer| layer.decision == fate).count();
    let (moved, decoded) = (count(Fate::Repack), count(Fate::Decode));
    let options = &report.options;
    let is_moved = options.migrate_to.is_some() || options.repair == Some(true);
    if options.edit.is_some() {
        return format!("{moved} edited, {} kept, {removed} replaced or removed", kept - moved);
    }
    match (&options.decode_to, is_moved) {
        (Some(_), _) => format!("{decoded} decoded, {} kept, {removed} removed", kept - decoded),
        (None, true) => format!("{moved} moved, {} kept, {removed} removed", kept - moved),
        (None, false) => format!("{converted} converted, {kept} kept, {removed} removed"),
    }
}

/// Layers per scheme and who opens the file.
fn describe_schemes(report: &Report) -> String {
    let mut counts = BTreeMap::<String, (Scheme, usize)>::new();
    for scheme in report.layers.iter().filter_map(|layer| layer.scheme) {
        counts.entry(scheme.to_string()).or_insert((scheme, 0)).1 += 1;
    }
    let line = |(name, (scheme, count))| {
        let opener = client(report.layout, scheme).name;
        format!("  {}: {name}, opened by {opener}\n", counted(count, "weight"))
    };
    counts.into_iter().map(line).collect()
}

/// What learned rounding did, over all weights.
fn describe_rounding(totals: &RoundingTotals) -> String {
    let objective = match totals.objective_ratio {
        Some(ratio) => format!("objective {} of nearest, ", percent(ratio)),
        None => String::new(),
    };
    let mut text = format!(
        "  method {} on {}: {objective}‖E‖ {:+.2} %; nearest codes stored for {} of {}\n",
        totals.method,
        totals.device,
        (totals.weight_error_ratio - 1.0) * 100.0,
        totals.kept_nearest,
        counted(totals.layers, "weight"),
    );
    if let (Some(stored), Some(nearest)) = (totals.output_error, totals.nearest_output_error) {
        text += &format!(
            "  outputs: mean relative error² {stored:.3e}, of nearest codes {nearest:.3e} ({})\n",
            percent(if nearest > 0.0 { stored / nearest } else { 1.0 }),
        );
    }
    text += &describe_without_statistics(&totals.without_statistics);
    if totals.failed > 0 {
        text += &format!(
            "  warning: the search of {} failed; nearest codes are stored (`--report` says why)\n",
            counted(totals.failed, "weight"),
        );
    }
    if !totals.is_reproducible {
        text += "  the last bits may differ from run to run on this device\n";
    }
    text
}

/// Layers that the statistics do not speak of.
fn describe_without_statistics(names: &[String]) -> String {
    const SHOWN: usize = 4;
    if names.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| plain(name)).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!(
        "  warning: no statistics for {}, nearest codes are stored: {}{more}\n",
        counted(names.len(), "weight"),
        shown.join(", "),
    )
}

fn describe_kept(report: &Report) -> String {
    let mut groups = BTreeMap::<(Fate, &str), Vec<&str>>::new();
    let is_kept = |layer: &&TensorReport| layer.scheme.is_none();
    for layer in report.layers.iter().filter(is_kept) {
        let group = groups.entry((layer.decision, layer.reason.as_str())).or_default();
        group.push(&layer.name);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    let mut table = Table::new(&["tensors", "", "because"]);
    for ((decision, reason), names) in groups.iter().take(REASONS_SHOWN) {
        let verb = match decision {
            Fate::Quantize => "converted",
            Fate::Copy => "kept",
            Fate::Rename => "renamed",
            Fate::Repack => "moved",
            Fate::Decode => "decoded",
            Fate::Correct => "corrected",
            Fate::Merge => "merged",
            Fate::Remove => "removed",
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

fn describe_worst(report: &Report) -> String {
    let mut table = Table::new(&["largest errors", "scheme", "‖E‖/‖W‖"]);
    for layer in report.worst_layers(WORST_SHOWN) {
        table.row(vec![
            layer.name.clone(),
            layer.scheme.map(|scheme| scheme.to_string()).unwrap_or_default(),
            layer.weight_error.map(percent).unwrap_or_default(),
        ]);
    }
    if let Some(error) = report.weight_error {
        table.row(vec!["all weights together".to_owned(), String::new(), percent(error)]);
    }
    if table.is_empty() {
        return String::new();
    }
    table.render(width()) + &warn_of_ruined(report)
}

/// A relative error that no 8-bit scheme has unless its scale does not suit the matrix.
const RUINED: f64 = 0.10;

fn warn_of_ruined(report: &Report) -> String {
    // Four bits lose as much as that everywhere.
    let has_8_bits = |layer: &TensorReport| layer.scheme.is_some_and(|it| it.code_bits() >= 8);
    let is_ruined = |layer: &&TensorReport| {
        has_8_bits(layer) && layer.weight_error.is_some_and(|error| error > RUINED)
    };
    let ruined: Vec<&TensorReport> = report.layers.iter().filter(is_ruined).collect();
    if ruined.is_empty() {
        return String::new();
    }
    format!(
        "  warning: {} lost more than {}: one scale covers values of very different size\n  {}\n",
        counted(ruined.len(), "weight"),
        percent(RUINED),
        way_out(&ruined),
    )
}

/// What is left to try for weights that their schemes do not suit.
fn way_out(ruined: &[&TensorReport]) -> &'static str {
    let is_tried = |name: &str| {
        ruined.iter().any(|layer| layer.scheme.is_some_and(|scheme| scheme.to_string() == name))
    };
    match (is_tried("int8-row"), is_tried("fp8")) {
        (false, false) => "`--scheme int8-row` or `fp8` suits them better",
        (false, true) => {
            "`--scheme int8-row` may suit them better; `--keep` keeps them as they are"
        }
        (true, false) => "`--scheme fp8` may suit them better; `--keep` keeps them as they are",
        (true, true) => "`--keep` keeps them as they are",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundwise_convert::Fate;

    #[test]
    fn a_scheme_that_ruined_a_weight_is_not_recommended_for_it() {
        let ruined = |scheme: &str| TensorReport {
            name: "a.weight".to_owned(),
            shape: vec![1, 1],
            dtype: "F32",
            decision: Fate::Quantize,
            reason: String::new(),
            scheme: Some(scheme.parse().unwrap()),
            weight_error: Some(0.5),
            rounding: None,
            seconds: 0.0,
            sums: None,
        };
        for scheme in ["int8", "int8-row", "fp8", "fp8-block-64"] {
            let advice = way_out(&[&ruined(scheme)]);
            assert!(!advice.contains(&format!("`--scheme {scheme}`")), "{scheme}: {advice}");
        }
        assert!(!way_out(&[&ruined("fp8"), &ruined("int8-row")]).contains("--scheme"));
    }
}
