use std::path::PathBuf;

use clap::Args;
use roundwise_convert::compute::Devices;

use super::size::parse_size;
use super::{BudgetFlags, EVENTS, INPUT, RecipeOptions, RunOptions, StatisticsFlags, input};

#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    #[arg(value_name = "INPUT", help = INPUT, value_parser = input())]
    pub(crate) input: PathBuf,
    /// Say of one layer, or tensor, which rule decides and what the others say
    #[arg(long, value_name = "LAYER")]
    pub(crate) explain: Option<String>,
    /// Say what `convert` takes with this limit of memory (such as 8GiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_limit: Option<u64>,
    /// Print the recipe with the scheme of every layer, to be edited, in place of the plan
    #[arg(long, conflicts_with_all = ["explain", "json"])]
    pub(crate) print_recipe: bool,
    /// Write how a limit is kept as lines of JSON, for programs; a line `stop` on standard input, or its end,
    /// stops
    #[arg(long, conflicts_with_all = ["explain", "json", "print_recipe", "quiet"])]
    pub(crate) events: bool,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) run: RunOptions,
    #[command(flatten)]
    pub(crate) budget: BudgetFlags,
    #[command(flatten)]
    pub(crate) recipe: RecipeOptions,
}

#[derive(Debug, Args)]
pub(crate) struct InspectOptions {
    #[arg(value_name = "INPUT", help = INPUT, value_parser = input())]
    pub(crate) input: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TryOptions {
    #[arg(value_name = "INPUT", help = INPUT, value_parser = input())]
    pub(crate) input: PathBuf,
    /// Shapes of weights that are tried, those with most elements first
    #[arg(long, value_name = "N", default_value = "6")]
    pub(crate) shapes: usize,
    /// Take at most so much memory (such as 8GiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_limit: Option<u64>,
    /// Of the whole conversion; nothing is written here
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) shard_size: Option<u64>,
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<Devices>,
    #[arg(long, help = EVENTS, conflicts_with_all = ["json", "quiet"])]
    pub(crate) events: bool,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) run: RunOptions,
    #[command(flatten)]
    pub(crate) recipe: RecipeOptions,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// The file before
    #[arg(value_parser = input())]
    pub(crate) original: PathBuf,
    /// The file after
    #[arg(value_parser = input())]
    pub(crate) converted: PathBuf,
    /// Let biases of converted layers differ, as `--bias-correction` makes them
    #[arg(long)]
    pub(crate) corrected_biases: bool,
    #[arg(long, help = EVENTS, conflicts_with_all = ["json", "quiet"])]
    pub(crate) events: bool,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PresetsOptions {
    /// Show this one alone
    #[arg(value_name = "PRESET")]
    pub(crate) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SchemesOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MethodsOptions {
    /// Show this one alone
    #[arg(value_name = "METHOD")]
    pub(crate) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
