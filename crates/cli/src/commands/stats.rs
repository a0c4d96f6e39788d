use roundwise_convert::ConvertError;
use roundwise_convert::run::Target;
use roundwise_convert::stats::{COLLECTOR, Curvature, LayerSummary, Merge, Statistics, StatsError};
use roundwise_convert::tensor_file::name_one_file;
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
    let layers = summaries(statistics)?;
    Ok(json!({
        "tool": statistics.tool(),
        "fingerprint": statistics.fingerprint(),
        "curvature": statistics.curvature().map(Curvature::name),
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
    let has_more = layers.iter().any(|layer| layer.has_gradient || layer.mixed.is_some());
    let head = ["layer", "columns", "samples", "second moment", "energy", "also known"];
    let mut table = Table::new(if has_more { &head } else { &head[..5] });
    for layer in layers {
        let mut cells = vec![
            layer.shape.module.clone(),
            layer.shape.columns.to_string(),
            layer.samples.to_string(),
            layer.knowledge.to_string(),
            percent(layer.rank_energy),
        ];
        cells.extend(has_more.then(|| more_of(layer)));
        table.row(cells);
    }
    text += &table.render(width());
    text += "energy: share of the second moment that is known beyond its diagonal\n";
    text += &allowed_by(statistics, layers);
    text + &warn_of_few_samples(layers)
}

/// Lists what is known of a layer beyond its inputs.
fn more_of(layer: &LayerSummary) -> String {
    let known = [("mixed", layer.mixed), ("weighted", layer.weighted), ("G", layer.outputs)];
    let known = known.into_iter().filter_map(|(name, known)| Some(format!("{name} {}", known?)));
    let gradient = layer.has_gradient.then(|| "gradient".to_owned());
    known.chain(gradient).collect::<Vec<_>>().join(", ")
}

/// Says what the statistics of a file allow.
fn allowed_by(statistics: &Statistics, layers: &[LayerSummary]) -> String {
    let count = |has: fn(&&LayerSummary) -> bool| layers.iter().filter(has).count();
    let mixed = count(|layer| layer.mixed.is_some());
    let weighted = count(|layer| layer.weighted.is_some());
    let gradients = count(|layer| layer.has_gradient);
    let mut text = String::new();
    if mixed > 0 {
        let layers = counted(mixed, "value projection");
        text += &format!("{layers} can be rounded for inputs as attention mixes them\n");
    }
    if weighted > 0 {
        let layers = counted(weighted, "layer");
        text += &format!("{layers} can be rounded for inputs weighed with gradients\n");
    }
    text += &match (gradients, statistics.curvature()) {
        (0, _) | (_, None) => {
            "no gradients: budgets go by the errors of outputs, and no loss is predicted\n"
                .to_owned()
        }
        (gradients, Some(Curvature::Tokens)) => format!(
            "gradients of {}: losses are predicted in nats per token\n",
            counted(gradients, "layer")
        ),
        (gradients, Some(Curvature::Gaussian)) => format!(
            "gradients of {}: losses are predicted as half the squared error of an output\n",
            counted(gradients, "layer")
        ),
    };
    text
}

fn warn_of_few_samples(layers: &[LayerSummary]) -> String {
    let few: Vec<&LayerSummary> = layers.iter().filter(|layer| layer.has_few_samples()).collect();
    let Some(worst) = few.iter().min_by_key(|layer| layer.samples) else { return String::new() };
    format!(
        "warning: {} with fewer samples than columns (`{}`: {} of {}): collect more, or what is \
         learned fits the samples\n",
        counted(few.len(), "layer"),
        plain(&worst.shape.module),
        worst.samples,
        worst.shape.columns,
    )
}

fn merge(options: &StatsMergeOptions) -> anyhow::Result<()> {
    // Before anything is read: files of statistics may be large.
    Target::file(&options.output, "the statistics", overwrite(options.force)).check()?;
    if options.statistics.iter().any(|input| name_one_file(input, &options.output)) {
        return Err(ConvertError::OutputIsInput { path: options.output.clone() }.into());
    }
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
    let lone = merge.in_one_only().count();
    if lone > 0 {
        text += &format!(
            "\nnote: {} in only one of the files, which may be of another model",
            counted(lone, "layer")
        );
    }
    print(&text)?;
    Ok(())
}
