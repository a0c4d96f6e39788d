use std::path::PathBuf;

use clap::{ArgGroup, Args};
use roundwise_convert::recipe::help::{self, choices};
use roundwise_convert::recipe::{PlainDtype, Program};

use super::{EVENTS, INPUT, NO_PROVENANCE, RunOptions, StatisticsFlags, WriteOptions, input};

/// Flags of commands that turn one file into another without changing its weights.
#[derive(Debug, Args)]
pub(crate) struct RewriteOptions {
    #[arg(value_name = "INPUT", help = INPUT, value_parser = input())]
    pub(crate) input: PathBuf,
    /// File to write [default: beside the input, named after what it becomes]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteOptions,
    #[arg(long, help = NO_PROVENANCE)]
    pub(crate) no_provenance: bool,
    #[arg(long, help = EVENTS, conflicts_with_all = ["json", "quiet"])]
    pub(crate) events: bool,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DequantizeOptions {
    #[arg(long, value_name = "DTYPE", help = dtype_help(), default_value = "bf16")]
    pub(crate) dtype: String,
    #[arg(long, value_name = "NAMES", help = help::names() + " [default: keep]")]
    pub(crate) names: Option<String>,
    #[command(flatten)]
    pub(crate) rewrite: RewriteOptions,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["to", "program"])))]
pub(crate) struct MigrateOptions {
    #[arg(long, value_name = "LAYOUT", help = help::layout())]
    pub(crate) to: Option<String>,
    #[arg(
        long = "for",
        value_name = "PROGRAM",
        help = help::programs() + ", in its usual layout",
        value_parser = parse_program
    )]
    pub(crate) program: Option<Program>,
    #[command(flatten)]
    pub(crate) rewrite: RewriteOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RepairOptions {
    /// Write the repaired file [default: beside the input, with `-repaired` in its name]
    #[arg(long)]
    pub(crate) write: bool,
    #[command(flatten)]
    pub(crate) rewrite: RewriteOptions,
}

#[derive(Debug, Args)]
pub(crate) struct EditOptions {
    /// Add or replace an entry of the header (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Leave out header entries whose key matches (may be repeated)
    #[arg(long, value_name = "REGEX")]
    pub(crate) unset: Vec<String>,
    /// Have layers whose name matches multiplied in full precision (may be repeated)
    #[arg(long, value_name = "REGEX")]
    pub(crate) full_precision: Vec<String>,
    /// Let layers whose name matches be multiplied in codes (may be repeated)
    #[arg(long, value_name = "REGEX")]
    pub(crate) any_precision: Vec<String>,
    /// Give FP8 layers whose name matches an activation scale from `--stats` (may be repeated)
    #[arg(long, value_name = "REGEX", requires = "stats")]
    pub(crate) input_scale: Vec<String>,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) rewrite: RewriteOptions,
}

fn parse_program(name: &str) -> Result<Program, String> {
    let known = Program::NAMES.map(|(name, _)| name);
    let found = Program::NAMES.iter().find(|(known, _)| *known == name);
    found.map(|(_, program)| *program).ok_or_else(|| format!("known: {}", known.join(", ")))
}

fn dtype_help() -> String {
    choices("What decoded weights are stored as", PlainDtype::NAMES.map(|(name, _)| name))
}
