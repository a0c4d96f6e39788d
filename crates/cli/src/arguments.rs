use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use roundwise_convert::{
    CATALOG, Devices, Heuristic, Layout, Limits, PlainDtype, RecipeFile, RuleFile, ScaleRule,
    Scheme, Share, StatisticsFile, import_layer_config, read_text,
};

use crate::method_flags::{MethodFlags, choices};
use crate::outcome::BadUsage;

/// Turns neural-network weights into FP8, INT8 and other low-precision files.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done, 1 failed, 2 bad usage, 3 verification failed, 130 stopped."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Convert weight files; `roundwise convert model.safetensors` is enough
    Convert(ConvertOptions),
    /// Turn every layer in codes back into plain numbers
    Dequantize(DequantizeOptions),
    /// Lay the layers of a quantized file out for another program, their codes untouched
    Migrate(MigrateOptions),
    /// Show what is damaged in a quantized file; `--write` makes it good
    Repair(RepairOptions),
    /// Change header entries and layer options of a file, its weights untouched
    Edit(EditOptions),
    /// Show what `convert` would do with every tensor; writes nothing
    Plan(PlanOptions),
    /// Show what is in a file and which programs open it
    Inspect(InspectOptions),
    /// Write or translate recipes
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Put the parts of a model together that `convert --part` made
    Merge(MergeOptions),
    /// Compare a converted file with its original
    Verify(VerifyOptions),
    /// Look at, merge and collect statistics of a model's inputs
    #[command(subcommand)]
    Stats(StatsCommand),
    /// List the presets, what they are for and how their models are recognised
    Presets(PresetsOptions),
    /// List the schemes and who opens them
    Schemes(SchemesOptions),
    /// Print a completion script for a shell
    Completions(CompletionsOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ConvertOptions {
    /// `.safetensors` files, indexes of shards, or folders that hold one
    #[arg(required = true, value_name = "INPUT")]
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
        conflicts_with_all = ["output", "scheme", "part"]
    )]
    pub(crate) to: Vec<SchemeOutput>,
    /// Replace an output that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Start over instead of continuing a run that was stopped
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Do not read the output again before it gets its name
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Write a folder of shards of at most this size (such as 5GB; a larger tensor has one to itself),
    /// with their index and what lies beside the input's shards, such as a tokenizer
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) shard_size: Option<u64>,
    /// Take at most so much memory (such as 8GiB): fewer tensors at once, large ones by bands of rows
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_limit: Option<u64>,
    /// Make one part of the model, for `roundwise merge`: 3/16, or auto/16 in an array job of Slurm or
    /// Kubernetes. The part goes into the output's name
    #[arg(long, value_name = "I/N", conflicts_with = "shard_size", value_parser = parse_share)]
    pub(crate) part: Option<Share>,
    /// Write what happened to every tensor as JSON (one input)
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write the leading part of what rounding changed as a LoRA of this rank beside the output
    #[arg(long, value_name = "RANK")]
    pub(crate) extract_error_lora: Option<NonZeroUsize>,
    #[arg(long, value_name = "DEVICE", help = device_help())]
    pub(crate) device: Option<Devices>,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) run: RunOptions,
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
    let (scheme, file) = match text.split_once('=') {
        Some((_, "")) => return Err("no file is named behind the `=`".to_owned()),
        Some((scheme, file)) => (scheme, Some(PathBuf::from(file))),
        None => (text, None),
    };
    // What is wrong with a name is said here, where the flag can be named.
    scheme.parse::<Scheme>().map_err(|error| error.to_string())?;
    Ok(SchemeOutput { scheme: scheme.to_owned(), file })
}

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
        Some(StatisticsFile { path, may_be_partial: self.force_stats })
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    /// A `.safetensors` file, an index of shards, or a folder that holds one
    pub(crate) input: PathBuf,
    /// Say of one layer, or tensor, which rule decides and what the others say
    #[arg(long, value_name = "LAYER")]
    pub(crate) explain: Option<String>,
    /// Say what `convert` takes with this limit of memory (such as 8GiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_limit: Option<u64>,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) run: RunOptions,
    #[command(flatten)]
    pub(crate) recipe: RecipeOptions,
}

/// One file that becomes another, whose weights stay what they are.
#[derive(Debug, Args)]
pub(crate) struct RewriteOptions {
    /// A `.safetensors` file, an index of shards, or a folder that holds one
    pub(crate) input: PathBuf,
    /// File to write [default: beside the input, named after what it becomes]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace an output that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Start over instead of continuing a run that was stopped
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Do not read the output again before it gets its name
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Do not write into the output's header how it was made
    #[arg(long)]
    pub(crate) no_provenance: bool,
    /// Write what happened to every tensor as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DequantizeOptions {
    #[arg(long, value_name = "DTYPE", help = dtype_help(), default_value = "bf16")]
    pub(crate) dtype: String,
    #[command(flatten)]
    pub(crate) rewrite: RewriteOptions,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateOptions {
    #[arg(long, value_name = "LAYOUT", help = layout_help())]
    pub(crate) to: String,
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
    pub(crate) any_products: Vec<String>,
    /// Give FP8 layers whose name matches an activation scale from `--stats` (may be repeated)
    #[arg(long, value_name = "REGEX", requires = "stats")]
    pub(crate) input_scale: Vec<String>,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) rewrite: RewriteOptions,
}

#[derive(Debug, Args)]
pub(crate) struct InspectOptions {
    /// A `.safetensors` file, an index of shards, or a folder that holds one
    pub(crate) input: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MergeOptions {
    /// All parts of one model, in any order
    #[arg(required = true, value_name = "PART")]
    pub(crate) parts: Vec<PathBuf>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace an output that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// The file before
    pub(crate) original: PathBuf,
    /// The file after
    pub(crate) converted: PathBuf,
    /// Let biases of converted layers differ, as `--bias-correction` makes them
    #[arg(long)]
    pub(crate) corrected_biases: bool,
    #[command(flatten)]
    pub(crate) statistics: StatisticsFlags,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// Print a recipe for this very model, every line of it explained
    Init(RecipeInitOptions),
    /// Print a layer-config of convert_to_quant, in JSON, as a recipe
    Import(RecipeImportOptions),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeInitOptions {
    /// A `.safetensors` file, an index of shards, or a folder that holds one
    pub(crate) input: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeImportOptions {
    /// The layer-config
    pub(crate) layer_config: PathBuf,
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
    /// Files to add up, two or more
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    pub(crate) statistics: Vec<PathBuf>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace an output that exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PresetsOptions {
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
pub(crate) struct CompletionsOptions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// How a command runs; never changes what it computes.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Threads to use; does not change the output [default: all cores]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
}

impl RunOptions {
    /// Tensors in flight at once.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.threads
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}

/// What becomes of the tensors.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recipe")]
pub(crate) struct RecipeOptions {
    #[arg(long, value_name = "SCHEME", help = scheme_help())]
    scheme: Option<String>,
    #[arg(long, value_name = "RULE", help = scale_rule_help())]
    scale_rule: Option<String>,
    #[arg(long, value_name = "LAYOUT", help = layout_help() + " [default: comfy]")]
    layout: Option<String>,
    /// Preset to use instead of the one that is detected, e.g. t5xxl; see `roundwise presets`
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Keep the layers that distilled Chroma models are sensitive in
    #[arg(long)]
    keep_distillation: bool,
    /// Convert what the base keep-list protects as well
    #[arg(long)]
    ignore_base_list: bool,
    /// Keep layers whose name (without `.weight`) matches (may be repeated)
    #[arg(long, value_name = "REGEX")]
    keep: Vec<String>,
    /// Convert layers whose name matches although a preset keeps them (may be repeated)
    #[arg(long, value_name = "REGEX")]
    include: Vec<String>,
    /// Give layers whose name matches a scheme of their own (may be repeated; first match wins)
    #[arg(long, value_name = "REGEX=SCHEME")]
    rule: Vec<String>,
    /// Give layers that the model's preset keeps this scheme instead; embeddings and norms stay
    #[arg(long, value_name = "SCHEME")]
    fallback_scheme: Option<String>,
    /// Ask programs to multiply by layers whose name matches in full precision (may be repeated)
    #[arg(long, value_name = "REGEX")]
    full_precision: Vec<String>,
    /// Add an adapter to the weights before rounding (may be repeated)
    #[arg(long, value_name = "FILE[:STRENGTH]")]
    merge_lora: Vec<String>,
    /// Leave keys of adapters out that no weight answers to
    #[arg(long)]
    allow_unmatched_lora: bool,
    /// Keep weights with fewer elements [default: 0, or the method's]
    #[arg(long, alias = "min-tensor-size", value_name = "ELEMENTS")]
    min_size: Option<u64>,
    #[arg(long, value_name = "RULES", help = heuristic_help())]
    heuristic: Option<String>,
    /// Recipe in TOML, with keys such as scheme, keep and rules, or a layer-config in JSON; flags
    /// override it, lists are joined
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Do not write into the output's header how it was made
    #[arg(long)]
    no_provenance: bool,
    #[command(flatten)]
    method: MethodFlags,
}

fn device_help() -> String {
    format!("Where learned rounding is computed: {} [default: auto]", Devices::forms())
}

fn dtype_help() -> String {
    choices("What decoded weights are stored as", PlainDtype::NAMES.map(|(name, _)| name))
}

fn scheme_help() -> String {
    choices("How weights are stored", CATALOG.iter().map(|entry| entry.name)) + " [default: fp8]"
}

fn scale_rule_help() -> String {
    choices("How scales are chosen", ScaleRule::NAMES.map(|(name, _)| name)) + " [default: absmax]"
}

fn layout_help() -> String {
    choices("How the file is laid out", Layout::NAMES.map(|(name, _)| name))
}

fn heuristic_help() -> String {
    choices("Size rules of the published converters", Heuristic::NAMES.map(|(name, _)| name))
}

impl RecipeOptions {
    /// The recipe file, if any, with the flags on top; statistics choose the method where nobody
    /// did.
    pub(crate) fn to_recipe_file(
        &self,
        statistics: Option<&StatisticsFile>,
    ) -> anyhow::Result<RecipeFile> {
        let recipe = self.typed()?;
        Ok(if statistics.is_some() { recipe.with_statistics() } else { recipe })
    }

    fn typed(&self) -> anyhow::Result<RecipeFile> {
        let file = match &self.recipe {
            Some(path) => {
                let text = read_text(path)?;
                let is_json = text.trim_start().starts_with('{');
                let recipe =
                    if is_json { import_layer_config(&text) } else { RecipeFile::from_toml(&text) };
                recipe.map_err(|error| BadUsage(format!("{}: {error}", path.display())))?
            }
            None => RecipeFile::default(),
        };
        Ok(file.overlaid_with(self.flags()?))
    }

    fn flags(&self) -> anyhow::Result<RecipeFile> {
        let (method, method_options) = self.method.to_options();
        Ok(RecipeFile {
            method,
            method_options,
            scheme: self.scheme.clone(),
            layout: self.layout.clone(),
            scale_rule: self.scale_rule.clone(),
            preset: self.preset.clone(),
            keep_distillation: self.keep_distillation.then_some(true),
            ignore_base_list: self.ignore_base_list.then_some(true),
            keep: self.keep.clone(),
            include: self.include.clone(),
            rules: self.rule.iter().map(|text| parse_rule(text)).collect::<Result<_, _>>()?,
            fallback_scheme: self.fallback_scheme.clone(),
            full_precision: self.full_precision.clone(),
            merge_lora: self.merge_lora.clone(),
            allow_unmatched_lora: self.allow_unmatched_lora.then_some(true),
            min_size: self.min_size,
            heuristic: self.heuristic.clone(),
            provenance: self.no_provenance.then_some(false),
            ..RecipeFile::default()
        }
        .typed_as_flags())
    }
}

/// `REGEX=SCHEME`; the scheme is what follows the last `=`.
fn parse_rule(text: &str) -> Result<RuleFile, BadUsage> {
    match text.rsplit_once('=') {
        Some((pattern, scheme)) if !pattern.is_empty() => {
            Ok(RuleFile { pattern: pattern.to_owned(), scheme: scheme.to_owned() })
        }
        _ => Err(BadUsage(format!(
            "--rule `{text}`: expected REGEX=SCHEME, e.g. --rule 'attn\\.qkv=int8-row'"
        ))),
    }
}

impl ConvertOptions {
    pub(crate) fn limits(&self) -> Limits {
        Limits { shard_bytes: self.shard_size, memory_bytes: self.memory_limit }
    }
}

/// `3/16`; for `auto/16` the number is what the scheduler says.
fn parse_share(text: &str) -> Result<Share, String> {
    let Some(count) = text.strip_prefix("auto") else { return text.parse() };
    let number = job_number()?;
    let count = match count.strip_prefix('/') {
        Some(count) => count.to_owned(),
        // An array that was cut to the parts that failed counts fewer.
        None if count.is_empty() && variable("SLURM_ARRAY_TASK_MIN").as_deref() == Some("1") => {
            let largest = variable("SLURM_ARRAY_TASK_MAX");
            let count =
                variable("SLURM_ARRAY_TASK_COUNT").filter(|count| largest.as_ref() == Some(count));
            count.ok_or("the array has gaps; say of how many parts: auto/16")?
        }
        None => return Err("say of how many parts: auto/16".to_owned()),
    };
    format!("{number}/{count}").parse()
}

/// Slurm's arrays are numbered as they are asked for, Kubernetes' indexed jobs from 0.
fn job_number() -> Result<u64, String> {
    let parsed = |name: &str, text: String| {
        text.parse::<u64>().map_err(|_| format!("{name} is `{text}`, which is no number"))
    };
    if let Some(text) = variable("SLURM_ARRAY_TASK_ID") {
        return match parsed("SLURM_ARRAY_TASK_ID", text)? {
            0 => Err("parts count from 1: `sbatch --array=1-16`".to_owned()),
            number => Ok(number),
        };
    }
    match variable("JOB_COMPLETION_INDEX") {
        Some(text) => Ok(parsed("JOB_COMPLETION_INDEX", text)?.saturating_add(1)),
        None => {
            Err("no SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX is set; say the part: 3/16".into())
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `5GB`, `512MiB`, or bytes without a unit.
fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("", 1),
    ];
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text[digits.len()..]));
    let number = digits.trim().parse::<f64>().ok().filter(|number| *number > 0.0);
    match (number, unit) {
        (Some(number), Some((_, factor))) if (number * *factor as f64) >= 1.0 => {
            Ok((number * *factor as f64) as u64)
        }
        _ => Err("expected a size such as 5GB or 512MiB".to_owned()),
    }
}

/// More threads than any machine has cores would only take its memory.
const MOST_THREADS: usize = 1024;

fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(threads) if threads.get() <= MOST_THREADS => Ok(threads),
        _ => Err(format!("expected a number from 1 to {MOST_THREADS}")),
    }
}
