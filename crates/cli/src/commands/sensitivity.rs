use std::collections::BTreeMap;

use roundwise_convert::Job;
use roundwise_convert::plan::{Card, Measure, Predicted, Sensitivity};
use roundwise_convert::run::{SensitivityRequest, limit_search_threads, sensitivity};
use roundwise_convert::source::for_input;
use serde_json::{Value, json};

use crate::arguments::SensitivityOptions;
use crate::commands::budget::{cache_of, loss};
use crate::console::{print, print_json, width};
use crate::progress::Progress;
use crate::stop::{self, Work};
use crate::table::Table;
use crate::text::{counted, path};

pub(crate) fn run(options: &SensitivityOptions) -> anyhow::Result<bool> {
    let statistics = options.statistics.to_file();
    let (file, typed) = options.recipe.to_recipe_file(statistics.as_ref())?;
    let file = for_input(file, &options.input, None);
    let recipe = file.check().map_err(|error| typed.error(error.into()))?;
    limit_search_threads(options.run.threads());
    stop::listen(Work::Search, options.run.quiet)?;
    // A job has a name for its output; nothing is written there.
    let output = options.input.with_extension("sensitivity");
    let job = Job {
        threads: options.run.threads(),
        devices: options.device.clone().unwrap_or_default(),
        statistics,
        ..Job::new(options.input.clone(), output, recipe)
    };
    let cache = cache_of(options.sensitivity.as_ref(), &job);
    let (schemes, card) = (&options.schemes[..], Card::Rtx50);
    let request = SensitivityRequest { job: &job, schemes, card, cache: cache.as_deref() };
    let progress = Progress::new(&job.input, options.run.quiet || options.run.json);
    let found = sensitivity(&request, &progress);
    progress.finish();
    let found = found.map_err(|error| typed.error(error))?;
    if options.run.json {
        print_json(&as_json(&found))?;
    } else if !options.run.quiet {
        let kept = match &cache {
            Some(cache) => format!("kept in {}\n", path(cache)),
            None => "not kept: no file can be written beside the input\n".to_owned(),
        };
        print(&(describe(&found) + &kept))?;
    }
    Ok(true)
}

fn as_json(found: &Sensitivity) -> Value {
    let predicted = found.predicted();
    let layers: Vec<Value> = predicted
        .iter()
        .map(|(layer, schemes)| {
            let of_scheme = |(scheme, predicted): (&String, &Predicted)| {
                let known = found.layers[layer][scheme];
                let value = json!({
                    "loss": predicted.loss,
                    "is_proxy": predicted.is_proxy,
                    "output_error": known.output_error,
                    "weight_error": known.weight_error,
                });
                (scheme.clone(), value)
            };
            let schemes: serde_json::Map<String, Value> = schemes.iter().map(of_scheme).collect();
            json!({ "name": layer, "schemes": schemes })
        })
        .collect();
    json!({ "measure": found.measure().name(), "layers": layers })
}

/// Lists layers and schemes, with a bar for each loss beside the worst of all.
fn describe(found: &Sensitivity) -> String {
    let predicted = found.predicted();
    let largest = |of_layer: &BTreeMap<String, Predicted>| {
        of_layer.values().map(|it| it.loss).fold(0.0, f64::max)
    };
    let worst = predicted.values().map(largest).fold(0.0, f64::max);
    let mut text = format!(
        "{}: predicted loss, {}\n",
        counted(predicted.len(), "layer"),
        found.measure().in_words()
    );
    if found.measure() == Measure::WeightError {
        text += "  statistics of the layers' inputs would tell what really is lost\n";
    }
    text += "  bars: a quarter shorter for each power of ten less\n";
    let mut table = Table::new(&["layer", "scheme", "loss", ""]);
    for (layer, of_layer) in &predicted {
        push_rows(&mut table, layer, of_layer, Some(worst));
    }
    let mut sums = BTreeMap::<String, Predicted>::new();
    for (scheme, it) in predicted.values().flatten() {
        let sum = sums.entry(scheme.clone()).or_insert(Predicted { loss: 0.0, is_proxy: false });
        sum.loss += it.loss;
    }
    push_rows(&mut table, "all layers", &sums, None);
    text += &table.render(width());
    let without = found.without_measure();
    if found.measure() != Measure::WeightError && !without.is_empty() {
        text += &format!(
            "note: * {} without the statistics that this needs: told by the error of the weights\n",
            counted(without.len(), "layer")
        );
    }
    text
}

/// Adds a row for each scheme of a layer, the first with its name.
///
/// - `worst`: the loss that has the longest bar; without it there are none
fn push_rows(
    table: &mut Table,
    layer: &str,
    losses: &BTreeMap<String, Predicted>,
    worst: Option<f64>,
) {
    for (index, (scheme, predicted)) in losses.iter().enumerate() {
        let star = if predicted.is_proxy { " *" } else { "" };
        let name = if index == 0 { layer } else { "" };
        let value = format!("{}{star}", loss(predicted.loss));
        let bar = worst.map(|worst| bar(predicted.loss, worst)).unwrap_or_default();
        table.row(vec![name.to_owned(), scheme.clone(), value, bar]);
    }
}

/// Draws a loss on a scale of powers of ten, four of them wide.
fn bar(loss: f64, worst: f64) -> String {
    const WIDTH: f64 = 12.0;
    const POWERS: f64 = 4.0;
    if loss <= 0.0 || worst <= 0.0 {
        return String::new();
    }
    // The worst has the whole width, and each power of ten below it a quarter less.
    let share = 1.0 + (loss / worst).log10() / POWERS;
    "█".repeat((share.max(0.0) * WIDTH).round() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_logarithmic() {
        assert_eq!(bar(1.0, 1.0).chars().count(), 12);
        assert_eq!(bar(0.01, 1.0).chars().count(), 6);
        assert_eq!(bar(1e-9, 1.0), "");
        assert_eq!(bar(0.0, 0.0), "");
    }
}
