//! Files that keep a budget: what they are predicted to lose, and what they lose.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outputs::Encoders;
use super::quality::Reached;
use crate::command;
use crate::goal::quality as goal;
use crate::python::LANGUAGE_MODELS;
use crate::record;
use crate::workspace::Workspace;

/// Which model.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder of a language model for transformers [default: a small Llama that is trained here].
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Its weight file, where the folder has another beside `model.safetensors`.
    #[arg(long, value_name = "FILE", requires = "model")]
    weights: Option<PathBuf>,
    /// Statistics with gradients [default: collected here, of the texts from the 65th on].
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
    /// Bits of a converted weight, on average.
    #[arg(long, value_delimiter = ',', default_values = ["5", "6", "7"])]
    bits: Vec<String>,
    /// Tokens that losses are measured on.
    #[arg(long, default_value = "4096")]
    tokens: String,
    /// Layers that are rounded alone, at most, evenly spaced, in INT4; 0 for none.
    #[arg(long, default_value = "256")]
    layers: usize,
    /// Tokens that layers alone are measured on.
    #[arg(long, default_value = "512")]
    layer_tokens: String,
    /// Python with torch and transformers [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// Predictions beside measurements.
#[derive(Serialize, Deserialize)]
pub(crate) struct Budgets {
    /// Folder of the model.
    pub(crate) model: String,
    /// Tokens of texts that no statistics have seen: for whole files, and for layers alone.
    pub(crate) tokens: [String; 2],
    pub(crate) files: Vec<FileLoss>,
    pub(crate) layers: Option<LayerLosses>,
    pub(crate) figures: Vec<Reached>,
}

/// One file.
#[derive(Serialize, Deserialize)]
pub(crate) struct FileLoss {
    pub(crate) name: String,
    pub(crate) bits: f64,
    pub(crate) predicted: f64,
    /// KL divergence in nats per token.
    pub(crate) measured: f64,
}

/// Layers that are rounded alone.
#[derive(Serialize, Deserialize)]
pub(crate) struct LayerLosses {
    pub(crate) count: usize,
    /// Rank correlation of predictions with measurements.
    pub(crate) rank_correlation: f64,
    /// Median of prediction over measurement.
    pub(crate) median_ratio: f64,
}

const SCHEMES: [&str; 2] = ["int4-convrot", "int8-row-convrot"];

/// The output of `clients/language_model.py judge`.
#[derive(Deserialize)]
struct Judged<T> {
    results: T,
}

#[derive(Deserialize)]
struct Divergence {
    kl: f64,
}

/// With `--layers`.
#[derive(Deserialize)]
struct Alone {
    layers: Vec<LayerDivergence>,
}

#[derive(Deserialize)]
struct LayerDivergence {
    /// Of the weight.
    name: String,
    kl: f64,
}

/// A file and what it is predicted to lose.
struct Made {
    name: String,
    path: PathBuf,
    bits: f64,
    predicted: f64,
}

struct BudgetBench<'a> {
    encoders: Encoders<'a>,
    folder: PathBuf,
    model: PathBuf,
    weights: PathBuf,
    statistics: PathBuf,
    tokens: &'a str,
}

/// Chooses, converts, and has the model read text.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let encoders = Encoders::with(workspace, options.python.as_deref(), LANGUAGE_MODELS)?;
    let folder = workspace.target("budget");
    fs::create_dir_all(&folder)?;
    let model = options.model.clone().unwrap_or_else(|| folder.join("language-model"));
    let weights = options.weights.clone().unwrap_or_else(|| model.join("model.safetensors"));
    let statistics = options.stats.clone();
    let statistics = statistics.unwrap_or_else(|| folder.join("curvature.stats.safetensors"));
    let tokens = &options.tokens;
    let bench = BudgetBench { encoders, folder, model, weights, statistics, tokens };
    bench.prepare(options)?;
    let measured = bench.measure(options)?;
    record::write(workspace, "budget", measured)
}

impl BudgetBench<'_> {
    /// Makes the model and its statistics, where none were named.
    fn prepare(&self, options: &Options) -> Result<()> {
        if options.model.is_none() && !self.weights.exists() {
            command::run(&mut self.language_model("make")?)?;
        }
        if options.stats.is_none() && !self.statistics.exists() {
            let all = fs::read_to_string(self.encoders.texts()?)?;
            let texts = self.folder.join("calibration.txt");
            // The first 64 texts are those that `judge` reads, which no statistics may have seen.
            let lines: Vec<&str> = all.lines().skip(64).collect();
            fs::write(&texts, lines.join("\n"))?;
            let collector = "crates/stats/collector/roundwise_collect.py";
            let mut collect = self.encoders.python.command(&[]);
            collect.arg(self.encoders.workspace.path(collector)).arg(&self.model).arg(texts);
            command::run(collect.args(["--curvature", "-o"]).arg(&self.statistics))?;
        }
        Ok(())
    }

    fn measure(&self, options: &Options) -> Result<Budgets> {
        let mut made = vec![];
        for bits in &options.bits {
            made.push(self.budget(bits)?);
        }
        for scheme in SCHEMES {
            made.push(self.uniform(scheme)?);
        }
        for bits in &options.bits {
            made.push(self.by_hand(bits.parse()?)?);
        }
        let losses = self.judge(&made)?;
        let files = made.iter().zip(losses).map(|(made, measured)| FileLoss {
            name: made.name.clone(),
            bits: made.bits,
            predicted: made.predicted,
            measured,
        });
        let files: Vec<FileLoss> = files.collect();
        for file in &files {
            println!(
                "{:<32} {:>5.2} bits  predicted {:.4e}  measured {:.4e}  measured/predicted {:.2}",
                file.name,
                file.bits,
                file.predicted,
                file.measured,
                file.measured / file.predicted
            );
        }
        let layers = match options.layers {
            0 => None,
            _ => Some(self.layers(options)?),
        };
        let model = self.model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let tokens = [options.tokens.clone(), options.layer_tokens.clone()];
        let figures = figures(&files, layers.as_ref());
        Ok(Budgets { model, tokens, files, layers, figures })
    }

    fn plan(&self, bits: &str) -> Result<Value> {
        let mut plan = self.tool("plan");
        plan.args(["--json", "--bits", bits, "--schemes", &SCHEMES.join(",")]);
        Ok(serde_json::from_str(&command::output(&mut plan)?)?)
    }

    /// Makes the file that a budget chooses.
    fn budget(&self, bits: &str) -> Result<Made> {
        let path = self.output(&format!("budget-{bits}"));
        let budget = self.plan(bits)?;
        let mut convert = self.convert(&path);
        convert.args(["--bits", bits, "--schemes", &SCHEMES.join(",")]);
        let report = report(&mut convert)?;
        let actual = number(&budget["budget"]["file"]["bits"])?;
        let predicted = number(&report["prediction"]["loss"])?;
        Ok(Made { name: format!("budget of {bits} bits"), path, bits: actual, predicted })
    }

    fn uniform(&self, scheme: &str) -> Result<Made> {
        let path = self.output(scheme);
        let mut convert = self.convert(&path);
        let report = report(convert.args(["--scheme", scheme]))?;
        let bits = if scheme.starts_with("int4") { 4.0 } else { 8.0 };
        let predicted = number(&report["prediction"]["loss"])?;
        Ok(Made { name: scheme.to_owned(), path, bits, predicted })
    }

    /// Makes a file of a rule of thumb: 8 bits for the first block and the last, then for `down_proj` from
    /// both ends, until the bits are used up.
    fn by_hand(&self, bits: f64) -> Result<Made> {
        let sizes = self.sizes()?;
        let all: f64 = sizes.iter().map(|(_, elements)| elements).sum();
        let mut left = all * (bits - 4.0) / 4.0;
        let mut chosen = vec![];
        for name in by_hand(&sizes) {
            let elements = sizes.iter().find(|(it, _)| *it == name).map_or(0.0, |it| it.1);
            if elements <= left {
                left -= elements;
                chosen.push(name);
            }
        }
        let path = self.output(&format!("hand-{bits}"));
        let mut convert = self.convert(&path);
        convert.args(["--scheme", SCHEMES[0]]);
        for name in &chosen {
            convert.arg(format!("--rule=^{}$={}", name.replace('.', "\\."), SCHEMES[1]));
        }
        let report = report(&mut convert)?;
        // 4 bits, and 4 more for the share of weights in INT8: what was granted less what no layer fitted into.
        let actual = 8.0 - 4.0 * (1.0 - (bits - 4.0) / 4.0 + left / all);
        let predicted = number(&report["prediction"]["loss"])?;
        Ok(Made { name: format!("rule of thumb, {bits} bits"), path, bits: actual, predicted })
    }

    /// Returns the layers of the model with their weights, in the order of the file.
    fn sizes(&self) -> Result<Vec<(String, f64)>> {
        let plan = self.plan("6")?;
        let tensors = plan["tensors"].as_array().context("no tensors in the plan")?;
        let chosen = plan["budget"]["layers"].as_array().context("no budget in the plan")?;
        let size = |layer: &Value| {
            let name = layer["name"].as_str()?;
            let tensor = tensors.iter().find(|it| it["name"] == format!("{name}.weight"))?;
            let shape = tensor["shape"].as_array()?;
            let elements = shape.iter().filter_map(Value::as_f64).product();
            Some((name.to_owned(), elements))
        };
        Ok(chosen.iter().filter_map(size).collect())
    }

    /// Puts layers of a converted file alone into the model, and compares what they lose with what they were
    /// predicted to lose.
    fn layers(&self, options: &Options) -> Result<LayerLosses> {
        let path = self.output("layers");
        let report = report(self.convert(&path).args(["--scheme", SCHEMES[0]]))?;
        let mut judge = self.language_model("judge")?;
        judge.args(["--tokens", &options.layer_tokens, "--layers", &options.layers.to_string()]);
        let [judged] = judged::<[Alone; 1]>(judge.arg(&path))?.results;
        fs::remove_file(&path)?;
        let predictions = report["tensors"].as_array().context("no tensors in the report")?;
        let pairs = judged.layers.iter().map(|layer| {
            let found = predictions.iter().find(|it| it["name"] == layer.name.as_str());
            let found = found.with_context(|| format!("{} is in no report", layer.name))?;
            Ok((number(&found["rounding"]["predicted_loss"])?, layer.kl))
        });
        let pairs: Vec<(f64, f64)> = pairs.collect::<Result<_>>()?;
        let found = LayerLosses {
            count: pairs.len(),
            rank_correlation: rank_correlation(&pairs),
            median_ratio: median(pairs.iter().map(|(predicted, kl)| predicted / kl).collect()),
        };
        println!(
            "{} layers alone: rank correlation {:.3}, predicted/measured {:.2} in the median",
            found.count, found.rank_correlation, found.median_ratio
        );
        Ok(found)
    }

    fn judge(&self, made: &[Made]) -> Result<Vec<f64>> {
        let mut judge = self.language_model("judge")?;
        judge.args(["--tokens", self.tokens]).args(made.iter().map(|made| &made.path));
        let judged: Judged<Vec<Divergence>> = judged(&mut judge)?;
        made.iter().try_for_each(|made| fs::remove_file(&made.path))?;
        Ok(judged.results.into_iter().map(|result| result.kl).collect())
    }

    fn output(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.safetensors"))
    }

    /// A command with the model, its statistics, and the file that keeps sensitivities.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(&self.encoders.binary);
        command.arg(name).arg(&self.weights).arg("--stats").arg(&self.statistics);
        // `convert` refuses the flag where it has no limit to keep, as in most calls here.
        if name == "plan" {
            command.arg("--sensitivity").arg(self.folder.join("sensitivity.json"));
        }
        command
    }

    fn convert(&self, output: &Path) -> Command {
        let mut command = self.tool("convert");
        command.args(["--force", "--fresh", "--json", "-o"]).arg(output);
        command
    }

    fn language_model(&self, task: &str) -> Result<Command> {
        let mut command = self.encoders.python.command(&[]);
        command.arg(self.encoders.workspace.path("xtask/clients/language_model.py"));
        command.arg(task).arg("--texts").arg(self.encoders.texts()?).arg(&self.model);
        Ok(command)
    }
}

fn figures(files: &[FileLoss], layers: Option<&LayerLosses>) -> Vec<Reached> {
    let of_layers = layers.into_iter().flat_map(|layers| {
        let ratio = layers.median_ratio.max(layers.median_ratio.recip());
        [
            Reached::of(&goal::LAYER_RANKS, layers.rank_correlation),
            Reached::of(&goal::LAYER_RATIO, ratio),
        ]
    });
    let measured = |name: &str| Some(files.iter().find(|file| file.name == name)?.measured);
    let mix = measured("budget of 6 bits").zip(measured("rule of thumb, 6 bits"));
    let over_hand = mix.map(|(mix, hand)| Reached::of(&goal::MIX_OVER_HAND, mix / hand));
    of_layers.chain(over_hand).collect()
}

fn judged<T: DeserializeOwned>(judge: &mut Command) -> Result<Judged<T>> {
    let text = command::output(judge)?;
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .with_context(|| format!("read {text}"))
}

fn report(convert: &mut Command) -> Result<Value> {
    Ok(serde_json::from_str(&command::output(convert)?)?)
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is no number: are there gradients?"))
}

/// Returns layers in the order in which a rule of thumb gives them 8 bits.
fn by_hand(sizes: &[(String, f64)]) -> Vec<String> {
    let block =
        |name: &str| -> Option<usize> { name.split('.').find_map(|part| part.parse().ok()) };
    let last = sizes.iter().filter_map(|(name, _)| block(name)).max().unwrap_or(0);
    let from_end = |name: &str| block(name).map_or(0, |block| block.min(last - block));
    let mut names: Vec<String> = sizes.iter().map(|(name, _)| name.clone()).collect();
    names.sort_by_key(|name| {
        let is_at_end = from_end(name) == 0;
        let is_down = name.ends_with("down_proj");
        let rank = if is_at_end {
            0
        } else if is_down {
            1
        } else {
            2
        };
        (rank, from_end(name))
    });
    names
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Spearman's coefficient; ties, which real losses do not have, are ranked as they come.
fn rank_correlation(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |value: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by(|&a, &b| value(&pairs[a]).total_cmp(&value(&pairs[b])));
        let mut ranks = vec![0.0; pairs.len()];
        order.iter().enumerate().for_each(|(rank, &index)| ranks[index] = rank as f64);
        ranks
    };
    let (a, b) = (ranks(|pair| pair.0), ranks(|pair| pair.1));
    let n = pairs.len() as f64;
    let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_compared() {
        assert_eq!(rank_correlation(&[(1.0, 2.0), (2.0, 30.0), (3.0, 400.0)]), 1.0);
        assert_eq!(rank_correlation(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), -1.0);
    }

    #[test]
    fn a_rule_of_thumb_begins_at_the_ends() {
        let sizes = ["l.0.q_proj", "l.1.q_proj", "l.1.down_proj", "l.2.q_proj"];
        let sizes = sizes.map(|name| (name.to_owned(), 1.0));
        assert_eq!(by_hand(&sizes), ["l.0.q_proj", "l.2.q_proj", "l.1.down_proj", "l.1.q_proj"]);
    }
}
