pub(super) mod language;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub(crate) use language::{Language, LanguageRow};

use super::outputs::{Encoders, Judged};
use crate::command;
use crate::goal::{Goal, quality as goal};
use crate::python::LANGUAGE_MODELS;
use crate::record::{self, Record};
use crate::workspace::Workspace;

/// Which models, with which interpreter.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Models to convert: sentence encoders, a language model.
    #[arg(long, value_delimiter = ',', value_parser = ALL_MODELS, default_values = ALL_MODELS)]
    models: Vec<String>,
    /// Tokens that the language model reads.
    #[arg(long, default_value_t = 4096)]
    tokens: usize,
    /// Measure only what takes time; errors stay as they are stored.
    #[arg(long)]
    only_times: bool,
    /// Take the language model's statistics that an earlier run has left: they take most of the time.
    #[arg(long)]
    keep_statistics: bool,
    /// Kinds of the language model's statistics beside nearest codes [default: all].
    #[arg(long, value_delimiter = ',', value_parser = language::KINDS)]
    knowledge: Vec<String>,
    /// Python with torch and tokenizers [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

const ALL_MODELS: [&str; 3] = ["minilm", "mpnet", language::MODEL];

const COLLECTOR: &str = "crates/stats/collector/roundwise_collect.py";

/// Statistics are of the texts from 64 on, errors of those before: first text and count.
const HELD_OUT: [usize; 2] = [0, 64];
const CALIBRATION: [usize; 2] = [64, 236];

/// Ways to collect statistics of inputs: a name, and the collector's flags.
const KNOWLEDGE: [(&str, &[&str]); 3] = [
    ("full", &["--full-limit", "4096"]),
    ("rank 64", &["--full-limit", "0", "--rank", "64"]),
    ("rank 16", &["--full-limit", "0", "--rank", "16"]),
];

/// A conversion: scheme, what is known of the inputs, and flags.
type Case = (&'static str, &'static str, &'static str);

const NEAREST: &str = "–";

const CASES: [Case; 19] = [
    ("fp8", NEAREST, ""),
    ("fp8", NEAREST, "--method principal --weight-error-budget 0.01"),
    ("fp8", "full", ""),
    ("fp8", "full", "--effort high"),
    ("fp8", "full", "--effort high --bias-correction inputs"),
    ("fp8", "rank 64", ""),
    ("fp8", "rank 16", ""),
    ("int8-row", NEAREST, ""),
    ("int8-row", "full", ""),
    ("int8-row", "rank 64", ""),
    ("int8-row-convrot", NEAREST, ""),
    ("int8-row-convrot", "full", "--damping 0.05"),
    ("mxfp8", NEAREST, ""),
    ("mxfp8", "full", ""),
    ("nvfp4", NEAREST, ""),
    ("nvfp4", "full", ""),
    ("int4-convrot", NEAREST, ""),
    ("int4-convrot", "full", ""),
    ("int4-convrot", "full", "--damping 0.05"),
];

/// Texts with 1, 4 and 16 times as many tokens as MiniLM's layers have columns, about; and all.
const SAMPLES: [usize; 4] = [3, 12, 49, 236];

/// The effect of statistics on models.
#[derive(Serialize, Deserialize)]
pub(crate) struct Quality {
    pub(crate) rows: Vec<Row>,
    pub(crate) samples: Vec<SampleRow>,
    pub(crate) figures: Vec<Reached>,
}

/// One conversion of one model.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) model: String,
    pub(crate) scheme: String,
    pub(crate) knowledge: String,
    pub(crate) flags: String,
    pub(crate) held_out: Judged,
}

/// Statistics of a number of texts.
#[derive(Serialize, Deserialize)]
pub(crate) struct SampleRow {
    pub(crate) texts: usize,
    /// Output error² on the texts that were sampled, and on others, over that of nearest codes.
    pub(crate) sampled: f64,
    pub(crate) held_out: f64,
}

/// A goal's figure.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reached {
    pub(crate) name: String,
    pub(crate) reached: f64,
}

/// Collects, converts, and has the encoders read text.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let encoders = Encoders::with(workspace, options.python.as_deref(), LANGUAGE_MODELS)?;
    let folder = workspace.target("quality");
    fs::create_dir_all(&folder)?;
    let bench = QualityBench { encoders, folder };
    let (language, encoders): (Vec<_>, Vec<_>) =
        options.models.iter().cloned().partition(|model| model == language::MODEL);
    if !encoders.is_empty() {
        measure_encoders(workspace, &bench, &encoders, options.only_times)?;
    }
    if !language.is_empty() {
        measure_language(workspace, &bench, options)?;
    }
    Ok(())
}

fn measure_language(workspace: &Workspace, bench: &QualityBench, options: &Options) -> Result<()> {
    let mut language: Language = match options.only_times {
        true => stored(workspace, "language")?,
        false => bench.language(options.tokens, options.keep_statistics, &options.knowledge)?,
    };
    replace(&mut language.figures, bench.collecting_times()?.into());
    print_figures(&language.figures);
    record::write(workspace, "language", language)
}

/// Returns what an earlier run on this machine has measured.
fn stored<T: for<'a> Deserialize<'a>>(workspace: &Workspace, name: &str) -> Result<T> {
    let stored: Option<Record<T>> = record::read_here(workspace, name)?;
    let stored =
        stored.context("no errors of this machine are stored: run it without --only-times")?;
    Ok(stored.measured)
}

/// Puts figures in the place of those of the same names.
fn replace(figures: &mut Vec<Reached>, newer: Vec<Reached>) {
    figures.retain(|figure| newer.iter().all(|it| it.name != figure.name));
    figures.extend(newer);
}

fn measure_encoders(
    workspace: &Workspace,
    bench: &QualityBench,
    models: &[String],
    only_times: bool,
) -> Result<()> {
    let mut quality: Quality = match only_times {
        true => stored(workspace, "quality")?,
        false => bench.errors(models)?,
    };
    replace(&mut quality.figures, bench.times()?);
    print_figures(&quality.figures);
    record::write(workspace, "quality", quality)
}

fn print_figures(figures: &[Reached]) {
    for figure in figures {
        println!("{:<90} {:.3}", figure.name, figure.reached);
    }
}

impl Reached {
    pub(super) fn of(goal: &Goal, reached: f64) -> Self {
        Self { name: goal.name.to_owned(), reached }
    }
}

pub(super) struct QualityBench<'a> {
    pub(super) encoders: Encoders<'a>,
    pub(super) folder: PathBuf,
}

/// The output of `clients/collect.py`.
#[derive(Deserialize)]
struct Collected {
    plain_seconds: f64,
    collecting_seconds: f64,
}

/// The output of `clients/language_model.py judge` for two files.
#[derive(Deserialize)]
struct Divergences {
    results: [Divergence; 2],
}

#[derive(Deserialize)]
struct Divergence {
    kl: f64,
}

impl QualityBench<'_> {
    fn model(&self, model: &str) -> Result<Vec<Row>> {
        for (knowledge, flags) in KNOWLEDGE {
            self.collect(model, CALIBRATION, flags, &self.statistics(model, knowledge))?;
        }
        let mut converted = Vec::new();
        for (index, (scheme, knowledge, flags)) in CASES.iter().enumerate() {
            let statistics = self.statistics(model, knowledge);
            let statistics = (*knowledge != NEAREST).then_some(statistics.as_path());
            let output = self.folder.join(format!("{model}-{index}.safetensors"));
            self.convert(model, scheme, statistics, flags, &output)?;
            converted.push(output);
        }
        let judged = self.encoders.judge(model, HELD_OUT, &converted)?;
        converted.iter().try_for_each(fs::remove_file)?;
        let rows = CASES.iter().zip(judged).map(|((scheme, knowledge, flags), held_out)| Row {
            model: model.to_owned(),
            scheme: (*scheme).to_owned(),
            knowledge: (*knowledge).to_owned(),
            flags: (*flags).to_owned(),
            held_out,
        });
        let rows: Vec<Row> = rows.collect();
        for row in &rows {
            println!(
                "{:<7} {:<17} {:<8} {:<50} {:.3e} {:.3e}",
                row.model,
                row.scheme,
                row.knowledge,
                row.flags,
                row.held_out.output_error,
                row.held_out.embedding_error
            );
        }
        Ok(rows)
    }

    /// Measures how well statistics of few texts do, on these and on others.
    fn samples(&self, model: &str) -> Result<Vec<SampleRow>> {
        let nearest = self.folder.join("nearest.safetensors");
        self.convert(model, "fp8", None, "", &nearest)?;
        let mut rows = Vec::new();
        for texts in SAMPLES {
            let sample = [CALIBRATION[0], texts];
            let statistics = self.folder.join(format!("{model}-{texts}.stats.safetensors"));
            self.collect(model, sample, &[], &statistics)?;
            let output = self.folder.join(format!("{model}-{texts}.safetensors"));
            self.convert(model, "fp8", Some(&statistics), "", &output)?;
            let files = [output, nearest.clone()];
            let ratio = |judged: &[Judged]| judged[0].output_error / judged[1].output_error;
            let row = SampleRow {
                texts,
                // Of many sampled texts 49 are judged, to save time.
                sampled: ratio(&self.encoders.judge(model, [sample[0], texts.min(49)], &files)?),
                held_out: ratio(&self.encoders.judge(model, HELD_OUT, &files)?),
            };
            println!("{texts} texts: {:.3} sampled, {:.3} held out", row.sampled, row.held_out);
            rows.push(row);
        }
        Ok(rows)
    }

    /// Measures the figures that a busy machine does not change.
    fn errors(&self, models: &[String]) -> Result<Quality> {
        let mut rows = Vec::new();
        for model in models {
            rows.extend(self.model(model)?);
        }
        let samples = self.samples("minilm")?;
        let mut figures = ratios(&rows);
        figures.push(Reached::of(&goal::SELF, self.own_text()?));
        Ok(Quality { rows, samples, figures })
    }

    /// Measures times, on a machine that does nothing else.
    fn times(&self) -> Result<Vec<Reached>> {
        let mut times = self.seconds()?;
        times.push(Reached::of(&goal::COLLECTOR, self.overhead("minilm")?));
        Ok(times)
    }

    /// Measures one large layer, by the report's own clock.
    fn seconds(&self) -> Result<Vec<Reached>> {
        let mut square = self.encoders.python.command(&[]);
        square.arg(self.encoders.workspace.path("xtask/clients/square.py"));
        command::run(square.arg("3072").arg(&self.folder))?;
        let input = self.folder.join("square.safetensors");
        let cases = [("full", goal::SECONDS_FULL), ("rank64", goal::SECONDS_RANK_64)];
        cases
            .into_iter()
            .map(|(name, goal)| {
                let statistics = self.folder.join(format!("square-{name}.stats.safetensors"));
                let mut convert = Command::new(&self.encoders.binary);
                convert.arg("convert").arg(&input).arg("--stats").arg(&statistics);
                convert.args(["--force", "--fresh", "--json", "-o"]);
                convert.arg(self.folder.join("square-out.safetensors"));
                let text = command::output(&mut convert)?;
                let report: serde_json::Value = serde_json::from_str(&text)?;
                let seconds = report["tensors"][0]["seconds"].as_f64();
                Ok(Reached::of(&goal, seconds.context("no seconds in the report")?))
            })
            .collect()
    }

    /// Returns the time of encoding while collecting over that of encoding alone.
    fn overhead(&self, model: &str) -> Result<f64> {
        let statistics = self.folder.join("overhead.stats.safetensors");
        let found = self.collect(model, [0, 300], &[], &statistics)?;
        Ok(found.collecting_seconds / found.plain_seconds)
    }

    /// Measures a language model with statistics of the text that it writes itself.
    fn own_text(&self) -> Result<f64> {
        let model = self.folder.join("language-model");
        let weights = model.join("model.safetensors");
        if !weights.exists() {
            command::run(&mut self.language_model("make", &model)?)?;
        }
        let statistics = self.folder.join("own-text.stats.safetensors");
        let collector = self.encoders.workspace.path(COLLECTOR);
        let mut collect = self.encoders.python.command(&[]);
        collect.arg(collector).arg(&model).args(["--self", "--samples", "128", "--tokens", "128"]);
        remove_if_there(&statistics)?;
        command::run(collect.args(["--batch", "32", "-o"]).arg(&statistics))?;
        let learned = self.folder.join("own-text.safetensors");
        let nearest = self.folder.join("own-text-nearest.safetensors");
        self.convert_file(&weights, "fp8", Some(&statistics), "", &learned)?;
        self.convert_file(&weights, "fp8", None, "", &nearest)?;
        let mut judge = self.language_model("judge", &model)?;
        let text = command::output(judge.arg(&learned).arg(&nearest))?;
        let judged: Divergences = serde_json::from_str(text.lines().last().unwrap_or_default())
            .with_context(|| format!("read {text}"))?;
        let [learned, nearest] = judged.results;
        println!("language model: KL {:.3e} of {:.3e}", learned.kl, nearest.kl);
        Ok(learned.kl / nearest.kl)
    }

    pub(super) fn language_model(&self, task: &str, folder: &Path) -> Result<Command> {
        let mut command = self.encoders.python.command(&[]);
        command.arg(self.encoders.workspace.path("xtask/clients/language_model.py"));
        command.arg(task).arg("--texts").arg(self.encoders.texts()?).arg(folder);
        Ok(command)
    }

    fn statistics(&self, model: &str, knowledge: &str) -> PathBuf {
        let knowledge = knowledge.replace([' ', ','], "");
        self.folder.join(format!("{model}-{knowledge}.stats.safetensors"))
    }

    fn collect(
        &self,
        model: &str,
        [first, count]: [usize; 2],
        flags: &[&str],
        output: &Path,
    ) -> Result<Collected> {
        let mut collect = self.encoders.script("collect.py", model, "--model", [first, count])?;
        let text = command::output(collect.args(flags).arg("-o").arg(output))?;
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("read {text}"))
    }

    fn convert(
        &self,
        model: &str,
        scheme: &str,
        statistics: Option<&Path>,
        flags: &str,
        output: &Path,
    ) -> Result<()> {
        self.convert_file(&self.encoders.file(model)?, scheme, statistics, flags, output)
    }

    fn convert_file(
        &self,
        input: &Path,
        scheme: &str,
        statistics: Option<&Path>,
        flags: &str,
        output: &Path,
    ) -> Result<()> {
        let mut convert = Command::new(&self.encoders.binary);
        convert.arg("convert").arg(input).arg("-o").arg(output);
        convert.args(["--scheme", scheme, "--force", "--fresh", "--quiet"]);
        if let Some(statistics) = statistics {
            convert.arg("--stats").arg(statistics);
        }
        command::run(convert.args(flags.split_whitespace()))
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match path.exists() {
        true => Ok(fs::remove_file(path)?),
        false => Ok(()),
    }
}

/// Returns, for each goal, the worst ratio of all models to nearest codes of the same scheme.
fn ratios(rows: &[Row]) -> Vec<Reached> {
    let output = |judged: &Judged| judged.output_error;
    let embedding = |judged: &Judged| judged.embedding_error;
    type Measure = fn(&Judged) -> f64;
    let cases: [(Goal, Case, Measure); 8] = [
        (goal::FP8_FULL, ("fp8", "full", ""), output),
        (goal::FP8_RANK_64, ("fp8", "rank 64", ""), output),
        (goal::FP8_RANK_16, ("fp8", "rank 16", ""), output),
        (goal::FP8_EMBEDDINGS, ("fp8", "full", ""), embedding),
        (goal::INT8_FULL, ("int8-row", "full", ""), output),
        (goal::CONVROT_EMBEDDINGS, ("int8-row-convrot", "full", "--damping 0.05"), embedding),
        (goal::NVFP4_FULL, ("nvfp4", "full", ""), output),
        (goal::INT4_FULL, ("int4-convrot", "full", ""), output),
    ];
    let is_case = |row: &&Row, (scheme, knowledge, flags): Case| {
        row.scheme == scheme && row.knowledge == knowledge && row.flags == flags
    };
    cases
        .into_iter()
        .filter_map(|(goal, case, measure)| {
            let learned = rows.iter().filter(|row| is_case(row, case));
            let of_models = learned.filter_map(|row| {
                let nearest = rows.iter().find(|other| {
                    other.model == row.model && is_case(other, (case.0, NEAREST, ""))
                })?;
                Some(measure(&row.held_out) / measure(&nearest.held_out))
            });
            of_models.reduce(f64::max).map(|reached| Reached::of(&goal, reached))
        })
        .collect()
}
