use std::path::PathBuf;

use clap::Args;
use roundwise_convert::compute::Devices;
use roundwise_convert::scheme::Scheme;

use super::budget::parse_scheme;
use super::{INPUT, RecipeOptions, RunOptions, StatisticsFlags, device_help, input};

#[derive(Debug, Args)]
pub(crate) struct SensitivityOptions {
    #[arg(value_name = "INPUT", help = INPUT, value_parser = input())]
    pub(crate) input: PathBuf,
    /// Schemes to measure [default: those that an RTX 50 multiplies fast]
    #[arg(long, value_name = "SCHEME,…", value_delimiter = ',', value_parser = parse_scheme)]
    pub(crate) schemes: Vec<Scheme>,
    /// File that keeps what was measured [default: beside the input]
    #[arg(long, value_name = "FILE")]
    pub(crate) sensitivity: Option<PathBuf>,
    #[arg(long, value_name = "DEVICE", help = device_help())]
    pub(crate) device: Option<Devices>,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) run: RunOptions,
    #[command(flatten)]
    pub(crate) recipe: RecipeOptions,
}
