use roundwise_convert::Job;
use roundwise_convert::plan::Limits;
use roundwise_convert::run::{Trial, default_output, limit_search_threads, try_job};
use roundwise_convert::source::for_input;

use crate::arguments::TryOptions;
use crate::console::{print, print_json, width};
use crate::events::{Events, tell_done, telling};
use crate::progress::Progress;
use crate::stop::{self, Work};
use crate::table::Table;
use crate::text::{percent, seconds, shape};

pub(crate) fn run(options: &TryOptions) -> anyhow::Result<bool> {
    telling(options.events, try_out(options))
}

fn try_out(options: &TryOptions) -> anyhow::Result<bool> {
    let statistics = options.statistics.to_file();
    let (file, typed) = options.recipe.to_recipe_file(statistics.as_ref())?;
    let file = for_input(file, &options.input, None);
    let recipe = file.check().map_err(|error| typed.error(error.into()))?;
    limit_search_threads(options.run.threads());
    stop::listen(Work::Looking, options.run.quiet)?;
    let limits = Limits { memory_bytes: options.memory_limit, shard_bytes: options.shard_size };
    // A job has a name for its output; nothing is written here.
    let output = default_output(&options.input, &recipe, limits);
    let job = Job {
        threads: options.run.threads(),
        devices: options.device.clone().unwrap_or_default(),
        statistics,
        limits,
        ..Job::new(options.input.clone(), output, recipe)
    };
    let trial = match options.events {
        true => try_job(&job, options.shapes, &Events::listen()),
        false => {
            let progress = Progress::new(&job.input, options.run.quiet || options.run.json);
            let trial = try_job(&job, options.shapes, &progress);
            progress.finish();
            trial
        }
    };
    let trial = trial.map_err(|error| typed.error(error))?;
    if options.events {
        tell_done(&trial);
    } else if options.run.json {
        print_json(&trial)?;
    } else if !options.run.quiet {
        print(&describe(&trial))?;
    }
    Ok(true)
}

fn describe(trial: &Trial) -> String {
    let mut table = Table::new(&["weight", "shape", "of these", "scheme", "‖E‖/‖W‖", "time"]);
    for layer in &trial.layers {
        table.row(vec![
            layer.name.clone(),
            shape(&layer.shape),
            layer.count.to_string(),
            layer.scheme.clone(),
            percent(layer.weight_error),
            seconds(layer.seconds),
        ]);
    }
    format!(
        "{}{}, {}: error {}, about {} for the whole file\n",
        table.render(width()),
        trial.scheme,
        trial.method,
        percent(trial.weight_error),
        seconds(trial.estimated_seconds),
    )
}
