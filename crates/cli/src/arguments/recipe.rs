use std::path::PathBuf;

use clap::{Args, Subcommand};
use roundwise_convert::RecipeFile;
use roundwise_convert::layout::Layout;
use roundwise_convert::model::{FileKind, Heuristic};
use roundwise_convert::recipe::{Names, Program, RuleFile};
use roundwise_convert::scheme::{CATALOG, ScaleRule};
use roundwise_convert::source::StatisticsFile;
use roundwise_convert::tensor_file::read_text;

use super::INPUT;
use crate::method_flags::{MethodFlags, choices};
use crate::outcome::BadUsage;
use crate::typed::Typed;

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// Print a recipe for this very model, every line of it explained
    Init(RecipeInitOptions),
    /// Print a layer-config of convert_to_quant, in JSON, as a recipe
    Import(RecipeImportOptions),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeInitOptions {
    #[arg(value_name = "INPUT", help = INPUT)]
    pub(crate) input: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeImportOptions {
    /// The layer-config
    pub(crate) layer_config: PathBuf,
}

/// Flags that say how tensors are converted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recipe")]
pub(crate) struct RecipeOptions {
    #[arg(long = "for", value_name = "PROGRAM", help = program_help())]
    program: Option<String>,
    #[arg(long, value_name = "SCHEME", help = scheme_help())]
    scheme: Option<String>,
    #[arg(long, value_name = "RULE", help = scale_rule_help())]
    scale_rule: Option<String>,
    #[arg(
        long,
        visible_alias = "spelling",
        value_name = "LAYOUT",
        help = layout_help() + " [default: what serves program and scheme best]"
    )]
    layout: Option<String>,
    /// For servers: keep layers that as many devices cannot share out in whole blocks
    #[arg(long = "tp", value_name = "DEVICES")]
    tensor_parallel: Option<u32>,
    #[arg(long = "as", value_name = "KIND", help = kind_help())]
    kind: Option<String>,
    #[arg(long, value_name = "NAMES", help = names_help()
        + " [default: translate, but llama.cpp's where no program is known to take the codes]")]
    names: Option<String>,
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
    /// Add an adapter, a file or PEFT's folder, to the weights before rounding (may be repeated)
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

pub(super) fn programs_help() -> String {
    choices("The program that is to open it", Program::NAMES.map(|(name, _)| name))
}

fn program_help() -> String {
    programs_help() + " [default: vllm for the folder of a language model, else comfyui]"
}

fn scheme_help() -> String {
    choices("How weights are stored", CATALOG.iter().map(|entry| entry.name))
        + " [default: fp8, for servers fp8-row]"
}

fn scale_rule_help() -> String {
    choices("How scales are chosen", ScaleRule::NAMES.map(|(name, _)| name))
        + " [default: absmax, but mse for 4-bit codes with statistics]"
}

pub(super) fn layout_help() -> String {
    choices("How the file is laid out", Layout::NAMES.map(|(name, _)| name))
}

fn kind_help() -> String {
    let kinds = FileKind::NAMES.map(|(name, _)| name);
    choices("Take the file for this, whatever it looks like, and do not refuse it", kinds)
}

pub(super) fn names_help() -> String {
    let names = Names::NAMES.map(|(name, _)| name);
    choices("What becomes of names that are not the model's own, such as diffusers'", names)
}

fn heuristic_help() -> String {
    choices("Size rules of the published converters", Heuristic::NAMES.map(|(name, _)| name))
}

impl RecipeOptions {
    /// Returns the recipe file, if any, with the flags on top, and how each setting was typed.
    /// Statistics choose the method where none is named.
    pub(crate) fn to_recipe_file(
        &self,
        statistics: Option<&StatisticsFile>,
    ) -> anyhow::Result<(RecipeFile, Typed)> {
        let (file, flags) = (self.file()?, self.flags()?);
        let typed = Typed::new(&file, &flags);
        let recipe = file.overlaid_with(flags).map_err(|error| typed.error(error.into()))?;
        // Last, so that a method of the file stands.
        let recipe = if statistics.is_some() { recipe.with_statistics() } else { recipe };
        Ok((recipe, typed))
    }

    fn file(&self) -> anyhow::Result<RecipeFile> {
        Ok(match &self.recipe {
            Some(path) => {
                let recipe = RecipeFile::from_text(&read_text(path)?);
                recipe.map_err(|error| BadUsage(format!("{}: {error}", path.display())))?
            }
            None => RecipeFile::default(),
        })
    }

    fn flags(&self) -> anyhow::Result<RecipeFile> {
        Ok(RecipeFile {
            method: self.method.method.clone(),
            method_options: self.method.options.clone(),
            program: self.program.clone(),
            scheme: self.scheme.clone(),
            layout: self.layout.clone(),
            tensor_parallel: self.tensor_parallel,
            scale_rule: self.scale_rule.clone(),
            kind: self.kind.clone(),
            names: self.names.clone(),
            preset: self.preset.clone(),
            // A flag that is not given says nothing, not `false`: the file may say otherwise.
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
            // The rest are settings of other commands.
            ..RecipeFile::default()
        })
    }
}

/// Parses `REGEX=SCHEME`; the scheme is the text after the last `=`.
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
