use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use roundwise_convert::compute::Devices;
use roundwise_convert::plan::{Limits, Part};
use roundwise_convert::scheme::Scheme;

use super::part::parse_part;
use super::size::parse_size;
use super::{
    BudgetFlags, EVENTS, INPUTS, RecipeOptions, RunOptions, StatisticsFlags, WriteOptions,
    device_help, input,
};

#[derive(Debug, Args)]
pub(crate) struct ConvertOptions {
    #[arg(id = "models", required = true, value_name = "INPUT", help = INPUTS, value_parser = input())]
    pub(crate) inputs: Vec<PathBuf>,
    /// File to write [default: beside the input, named after scheme and method]
    #[arg(short, long, value_name = "FILE", conflicts_with = "out_dir")]
    pub(crate) output: Option<PathBuf>,
    /// Folder to write into, under the default names
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out_dir: Option<PathBuf>,
    /// Make an output of this scheme, under the default name unless FILE is given (may be repeated: the
    /// input is read once for all)
    #[arg(
        long,
        value_name = "SCHEME[=FILE]",
        value_parser = parse_scheme_output,
        conflicts_with_all = ["output", "scheme", "part", "size", "bits", "loss"]
    )]
    pub(crate) to: Vec<SchemeOutput>,
    #[command(flatten)]
    pub(crate) write: WriteOptions,
    /// Take at most so much memory (such as 8GiB): fewer tensors at once, large ones by bands of rows
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_limit: Option<u64>,
    /// Make one part of the model, for `roundwise merge`: 3/16, or auto/16 in an array job of Slurm or
    /// Kubernetes. The part goes into the output's name
    #[arg(long, value_name = "I/N", conflicts_with_all = ["shard_size", "size", "bits", "loss"], value_parser = parse_part)]
    pub(crate) part: Option<Part>,
    /// Write the leading part of what rounding changed as a LoRA of this rank beside the output
    #[arg(long, value_name = "RANK", value_parser = parse_rank)]
    pub(crate) extract_error_lora: Option<NonZeroUsize>,
    #[arg(long, value_name = "DEVICE", help = device_help())]
    pub(crate) device: Option<Devices>,
    #[arg(long, help = EVENTS, conflicts_with_all = ["json", "quiet"])]
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

/// One output of several.
#[derive(Clone, Debug)]
pub(crate) struct SchemeOutput {
    pub(crate) scheme: String,
    /// `None` for the default name.
    pub(crate) file: Option<PathBuf>,
}

fn parse_scheme_output(text: &str) -> Result<SchemeOutput, String> {
    // At the first `=`: names of schemes hold none, names of files may.
    let (scheme, file) = match text.split_once('=') {
        Some((_, "")) => return Err("no file is named behind the `=`".to_owned()),
        Some((scheme, file)) => (scheme, Some(PathBuf::from(file))),
        None => (text, None),
    };
    // A wrong name is reported here, where the flag can be named.
    scheme.parse::<Scheme>().map_err(|error| error.to_string())?;
    Ok(SchemeOutput { scheme: scheme.to_owned(), file })
}

fn parse_rank(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a whole number of 1 or more".to_owned())
}

impl ConvertOptions {
    pub(crate) fn limits(&self) -> Limits {
        Limits { memory_bytes: self.memory_limit, ..self.write.limits() }
    }
}
