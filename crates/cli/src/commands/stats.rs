use roundwise_convert::run::Target;
use roundwise_convert::stats::{COLLECTOR, LayerSummary, Merge, Statistics, StatsError};
use serde_json::json;

use crate::arguments::{StatsCommand, StatsMergeOptions, StatsShowOptions, overwrite};
use crate::console::{print, print_as_it_is, print_json, width};
use crate::table::Table;
use crate::text::{bytes, counted, path, percent, plain};

pub(crate) fn run(command: &StatsCommand) -> anyhow::Result<bool> {
    match command {
        StatsCommand::Show(options) => show(options)?,
        StatsCommand::Merge(options) => merge(options)?,
        StatsCommand::Collector => print_as_it_is(COLLECTOR.trim_end())?,
    }
    Ok(true)
}

fn show(options: &StatsShowOptions) -> anyhow::Result<()> {
    let statistics = Statistics::open(&options.statistics)?;
    if options.json {
        print_json(&as_json(&statistics)?)?;
        return Ok(());
    }
    print(&describe(&statistics, &summaries(&statistics)?))?;
    Ok(())
}

fn summaries(statistics: &Statistics) -> Result<Vec<LayerSummary>, StatsError> {
    statistics.layers().iter().map(|layer| statistics.summary(&layer.module)).collect()
}

/// Returns what `stats show --json` prints.
///
/// # Errors
/// When numbers cannot be read, or contradict each other.
pub fn as_json(statistics: &Statistics) -> Result<serde_json::Value, StatsError> {
    let layers: Vec<_> = summaries(statistics)?
        .iter()
        .map(|layer| {
            json!({
                "name": layer.shape.module,
                "rows": layer.shape.rows,
                "columns": layer.shape.columns,
                "samples": layer.samples,
                "second_moment": layer.knowledge.to_string(),
                "rank_energy": layer.rank_energy,
                "has_mean": layer.has_mean,
                "has_few_samples": layer.has_few_samples(),
            })
        })
        .collect();
    Ok(json!({
        "tool": statistics.tool(),
        "fingerprint": statistics.fingerprint(),
        "layers": layers,
    }))
}

fn describe(statistics: &Statistics, layers: &[LayerSummary]) -> String {
    let mut text = format!(
        "{}: {}, collected by {}\n",
        path(statistics.path()),
        counted(layers.len(), "layer"),
        plain(statistics.tool()),
    );
    let mut table = Table::new(&["layer", "columns", "samples", "second moment", "energy"]);
    for layer in layers {
        table.row(vec![
            layer.shape.module.clone(),
            layer.shape.columns.to_string(),
            layer.samples.to_string(),
            layer.knowledge.to_string(),
            percent(layer.rank_energy),
        ]);
    }
    text += &table.render(width());
    text += "energy: share of the second moment that is known beyond its diagonal\n";
    text + &warn_of_few_samples(layers)
}

fn warn_of_few_samples(layers: &[LayerSummary]) -> String {
    let few: Vec<&LayerSummary> = layers.iter().filter(|layer| layer.has_few_samples()).collect();
    let Some(worst) = few.iter().min_by_key(|layer| layer.samples) else { return String::new() };
    format!(
        "warning: {} saw fewer samples than it has columns (`{}`: {} of {}): collect more, or \
         what is learned fits the samples\n",
        counted(few.len(), "layer"),
        plain(&worst.shape.module),
        worst.samples,
        worst.shape.columns,
    )
}

fn merge(options: &StatsMergeOptions) -> anyhow::Result<()> {
    Target::file(&options.output, "the statistics", overwrite(options.force)).check()?;
    let sources = options.statistics.iter().map(|path| Statistics::open(path));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let merge = Merge::plan(&sources)?;
    let layers = merge.layers().count();
    let committed = merge.write(&options.output, overwrite(options.force))?;
    let mut text = format!(
        "{}: {} from {}, {}",
        path(&options.output),
        counted(layers, "layer"),
        counted(sources.len(), "file"),
        bytes(committed.bytes),
    );
    if !merge.weakened().is_empty() {
        text += &format!(
            "\nnote: {} less known than in the best of the files, for not all of them have as much",
            counted(merge.weakened().len(), "layer")
        );
    }
    print(&text)?;
    Ok(())
}
