use std::path::PathBuf;

use clap::{Args, Subcommand};
use roundwise_convert::source::StatisticsFile;

use super::FORCE;

/// Statistics of real inputs.
#[derive(Debug, Args)]
pub(crate) struct StatisticsFlags {
    /// Statistics of the layers' inputs, from `roundwise stats collector`
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
    /// Use statistics of a model that is not quite this one, as far as its layers fit
    #[arg(long, requires = "stats")]
    force_stats: bool,
}

impl StatisticsFlags {
    pub(crate) fn to_file(&self) -> Option<StatisticsFile> {
        let path = self.stats.clone()?;
        Some(StatisticsFile { path, allow_partial: self.force_stats })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum StatsCommand {
    /// List the layers of a file of statistics: samples, what is kept of their second moment
    Show(StatsShowOptions),
    /// Add up statistics of the same model from several runs
    Merge(StatsMergeOptions),
    /// Print the program that collects statistics: a Python file that needs torch alone
    Collector,
}

#[derive(Debug, Args)]
pub(crate) struct StatsShowOptions {
    /// `*.stats.safetensors`, or an importance matrix of llama.cpp
    #[arg(value_name = "FILE")]
    pub(crate) statistics: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatsMergeOptions {
    /// Files to add up; one alone, such as an importance matrix, becomes a side-car
    #[arg(required = true, value_name = "FILE")]
    pub(crate) statistics: Vec<PathBuf>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[arg(long, help = FORCE)]
    pub(crate) force: bool,
}
