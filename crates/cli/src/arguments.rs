mod budget;
mod comfy;
mod convert;
mod look;
mod part;
mod recipe;
mod rewrite;
mod run;
mod sensitivity;
mod size;
mod statistics;
#[cfg(feature = "studio")]
mod studio;
mod write;

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use roundwise_convert::compute::Devices;
use roundwise_convert::recipe::setting_names;
use roundwise_convert::rounding::MethodOptions;

pub(crate) use self::budget::BudgetFlags;
pub(crate) use self::comfy::{ComfyCommand, ComfyInstallOptions};
pub(crate) use self::convert::{ConvertOptions, SchemeOutput};
pub(crate) use self::look::{
    InspectOptions, MethodsOptions, PlanOptions, PresetsOptions, SchemesOptions, TryOptions,
    VerifyOptions,
};
pub(crate) use self::recipe::{RecipeCommand, RecipeOptions};
pub(crate) use self::rewrite::{
    DequantizeOptions, EditOptions, MigrateOptions, RepairOptions, RewriteOptions,
};
pub(crate) use self::run::RunOptions;
pub(crate) use self::sensitivity::SensitivityOptions;
pub(crate) use self::statistics::{
    StatisticsFlags, StatsCommand, StatsMergeOptions, StatsShowOptions,
};
#[cfg(feature = "studio")]
pub(crate) use self::studio::{ReportOptions, StudioOptions};
pub(crate) use self::write::{WriteOptions, overwrite};

/// Help text of the inputs of a command.
const INPUT: &str = "A weight file (.safetensors, .pt, .pth, .bin, .ckpt or .gguf), an index of shards, or a \
                     folder that holds one";
const INPUTS: &str = "Weight files (.safetensors, .pt, .pth, .bin, .ckpt or .gguf), indexes of shards, or folders \
                      that hold one";

/// Help text of `--events`, but where that tells of a search alone.
const EVENTS: &str = "Write what happens as lines of JSON, for programs; a line `stop` on standard input, or its \
                      end, stops";
/// Help text of `--no-provenance`.
const NO_PROVENANCE: &str = "Do not write into the output's header how it was made";
/// Help text of `--force` of commands that write one file.
const FORCE: &str = "Replace an output that exists";

fn device_help() -> String {
    format!("Where learned rounding is computed: {} [default: auto]", Devices::forms())
}

/// Parses the name of an input. `-` means standard input elsewhere; a pipe cannot be read at any place, as headers
/// and tensors are.
fn input() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.as_os_str() == "-" {
        true => Err("standard input is not read; name a file (`./-` for one called so)"),
        false => Ok(path),
    })
}

/// Turns neural-network weights into FP8, INT8 and other low-precision files.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done, 1 failed, 2 bad usage, 3 `verify` or `repair` found something wrong in a file,
130 stopped. `roundwise COMMAND --help` lists a command's flags."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of commands that take a recipe that most people need; `-h` lists these, `--help` all.
const USUAL: [&str; 18] = [
    "models", "input", "output", "out_dir", "to", "force", "report", "json", "quiet", "stats",
    "size", "bits", "scheme", "program", "keep", "include", "rules", "recipe",
];

/// Leaves what few people need out of `-h` of commands with many flags, and lets every value begin with a minus, so
/// that a negative number is refused by the setting's own check and not as an unknown flag.
pub(crate) fn with_short_help(command: clap::Command) -> clap::Command {
    let is_long =
        |command: &clap::Command| command.get_arguments().any(|it| it.get_id() == "recipe");
    command.mut_subcommands(|command| {
        // A command that takes a recipe has dozens of flags; the others show all of theirs.
        let is_long = is_long(&command);
        let command = command.mut_args(|argument| {
            let takes_values = argument.get_action().takes_values();
            let is_usual = !is_long || USUAL.contains(&argument.get_id().as_str());
            // The heading of the method's settings would go on over all that is declared behind them.
            let id = argument.get_id().to_string();
            let is_of_method =
                id == "method" || setting_names::<MethodOptions>().contains(&id.as_str());
            let argument = match argument.get_help_heading() == Some("Learned rounding") {
                true if !is_of_method => argument.help_heading("Recipe"),
                _ => argument,
            };
            let argument = argument.hide_short_help(!is_usual);
            if takes_values { argument.allow_negative_numbers(true) } else { argument }
        });
        match command.has_subcommands() {
            true => with_short_help(command),
            false => command,
        }
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Convert weight files; `roundwise convert model.safetensors` is enough
    Convert(ConvertOptions),
    /// Turn every layer in codes back into plain numbers
    Dequantize(DequantizeOptions),
    /// Lay the layers of a quantized file out for another program, their codes untouched
    Migrate(MigrateOptions),
    /// Show the defects of a quantized file; `--write` repairs them
    Repair(RepairOptions),
    /// Change header entries and layer options of a file, its weights untouched
    Edit(EditOptions),
    /// Show what `convert` would do with every tensor; writes no model
    Plan(PlanOptions),
    /// Show what every layer loses in each scheme
    Sensitivity(SensitivityOptions),
    /// Show what is in a file and which programs open it
    Inspect(InspectOptions),
    /// Write or translate recipes
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Put the parts of a model together that `convert --part` made
    Merge(MergeOptions),
    /// Convert a few weights, write nothing, and tell how long the whole takes and how well it does
    #[command(hide = true)]
    Try(TryOptions),
    /// Compare a converted file with its original
    Verify(VerifyOptions),
    /// Look at, merge and collect statistics of a model's inputs
    #[command(subcommand)]
    Stats(StatsCommand),
    /// Add nodes to ComfyUI that collect statistics, convert model files and show reports
    #[command(subcommand)]
    Comfy(ComfyCommand),
    /// List the presets, what they are for and how their models are recognised
    Presets(PresetsOptions),
    /// List the schemes and who opens them
    Schemes(SchemesOptions),
    /// List the methods of rounding and their settings, with meanings, defaults and ranges
    Methods(MethodsOptions),
    /// Open the page in the browser: plan, queue, watch and compare conversions
    #[cfg(feature = "studio")]
    Studio(StudioOptions),
    /// Make a page of a report that `--report` wrote, or of two to compare them
    #[cfg(feature = "studio")]
    Report(ReportOptions),
    /// Print a completion script for a shell
    Completions(CompletionsOptions),
    /// Write a manual page of every command into a folder
    #[command(hide = true)]
    Manual(ManualOptions),
}

#[derive(Debug, Args)]
pub(crate) struct MergeOptions {
    /// All parts of one model, in any order
    #[arg(required = true, value_name = "PART", value_parser = input())]
    pub(crate) parts: Vec<PathBuf>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[arg(long, help = FORCE)]
    pub(crate) force: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManualOptions {
    /// The folder, which is made where it is not there
    pub(crate) folder: PathBuf,
}
