use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::Figure;
use super::outputs::Encoders;
use super::quality::QualityBench;
use super::quality::language::{Judgement, MODEL, last_line};
use crate::command;
use crate::goal::{number, servers as goal};
use crate::measured_run::{MeasuredRun, Runs};
use crate::python::{LANGUAGE_MODELS, LLM_COMPRESSOR, Python};
use crate::random_folder::RandomFolder;
use crate::record;
use crate::servers::binary;
use crate::workspace::Workspace;

/// Which parts, how much, and with which programs.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these parts, comma-separated; each is stored by itself [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Comparison>,
    /// Size of the folder that is converted.
    #[arg(long, default_value_t = 4)]
    gib: usize,
    /// Runs of each converter; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Articles that both programs learn from; llm-compressor reads each of them twice.
    #[arg(long, default_value_t = 200)]
    articles: usize,
    /// Tokens of other articles that the models are judged on.
    #[arg(long, default_value_t = 4096)]
    tokens: usize,
    /// Program to measure [default: the one that is built here].
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Python with llmcompressor [default: a venv in target/].
    #[arg(long, value_name = "PATH")]
    compressor: Option<PathBuf>,
    /// Python with torch and transformers [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// A part that can be measured alone.
#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
pub(crate) enum Comparison {
    /// Time, memory and size of a folder in FP8.
    Conversion,
    /// What 4 bits in groups of 128 do to a language model.
    Language,
}

impl Comparison {
    /// Both, in the order of the report.
    pub(crate) const ALL: [Self; 2] = [Self::Conversion, Self::Language];

    /// Returns the name of its stored measurement.
    pub(crate) fn record(self) -> &'static str {
        match self {
            Self::Conversion => "servers-conversion",
            Self::Language => "servers-language",
        }
    }

    /// Returns the head of its table in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Conversion => "A folder for servers, beside llm-compressor 0.14",
            Self::Language => "A language model in 4 bits, beside llm-compressor 0.14",
        }
    }
}

/// Measures, prints, and stores each part for the report.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let bench = ServersBench {
        workspace,
        options,
        binary: binary(workspace, options.binary.as_deref())?,
        compressor: compressor(workspace, options.compressor.as_deref())?,
    };
    let is_chosen = |part: &Comparison| options.only.is_empty() || options.only.contains(part);
    for part in Comparison::ALL.into_iter().filter(is_chosen) {
        let figures = match part {
            Comparison::Conversion => bench.conversion()?,
            Comparison::Language => bench.language()?,
        };
        for figure in &figures {
            println!("{:<66} {} ({})", figure.name, number(figure.reached), figure.remark);
        }
        record::write(workspace, part.record(), figures)?;
    }
    Ok(())
}

fn compressor(workspace: &Workspace, named: Option<&Path>) -> Result<Python> {
    if named.is_some() {
        return Python::with(workspace, named, &[]);
    }
    let python = Python::environment(&workspace.target("llm-compressor-venv"))?;
    python.install(&[], LLM_COMPRESSOR)?;
    Ok(python)
}

struct ServersBench<'a> {
    workspace: &'a Workspace,
    options: &'a Options,
    binary: PathBuf,
    compressor: Python,
}

impl ServersBench<'_> {
    /// Converts a folder with both programs as they are set without being told otherwise, ours first.
    fn conversion(&self) -> Result<Vec<Figure>> {
        let folder = self.workspace.target("bench");
        let input = RandomFolder::of_gib(self.options.gib).make(&folder)?;
        let output = folder.join("for-servers");
        let (mut our_bytes, mut their_bytes) = (0, 0);
        let ours = Runs::repeat(self.options.runs, || {
            let run = measured(&output, self.nearest("fp8-row", &input, &output))?;
            our_bytes = weight_bytes(&output)?;
            Ok(run)
        })?;
        let theirs = Runs::repeat(self.options.runs, || {
            let mut convert = self.compress(&["nearest", "FP8_DYNAMIC"]);
            convert.arg(&input).arg(&output);
            let run = measured(&output, convert)?;
            their_bytes = weight_bytes(&output)?;
            Ok(run)
        })?;
        remove_folder(&output)?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let times = theirs.median_seconds / ours.median_seconds;
        let memory = ours.peak_bytes as f64 / theirs.peak_bytes as f64;
        let size = (our_bytes as f64 / their_bytes as f64 - 1.0).abs();
        let seconds = format!(
            "{:.2} s and {:.2} s for {:.0} MiB, medians of {}; FP8 with a scale per row, nearest codes",
            ours.median_seconds,
            theirs.median_seconds,
            mib(weight_bytes(&input)?),
            ours.seconds.len()
        );
        let peaks =
            format!("{:.0} MiB and {:.0} MiB", mib(ours.peak_bytes), mib(theirs.peak_bytes));
        let sizes = format!("{our_bytes} and {their_bytes} bytes");
        Ok(vec![
            Figure::of(&goal::TIME, times, None, seconds),
            Figure::of(&goal::MEMORY, memory, None, peaks),
            Figure::of(&goal::SIZE, size, None, sizes),
        ])
    }

    /// Has a small language model in 4 bits predict texts: of nearest codes, of codes found with statistics, and of
    /// those of GPTQ, all decoded by us.
    fn language(&self) -> Result<Vec<Figure>> {
        let python = Python::with(self.workspace, self.options.python.as_deref(), LANGUAGE_MODELS)?;
        let (workspace, binary) = (self.workspace, self.binary.clone());
        let quality = QualityBench {
            encoders: Encoders { workspace, python, binary },
            folder: workspace.target("quality"),
        };
        fs::create_dir_all(&quality.folder)?;
        let opened = quality.opened()?;
        let model = without_layers(&opened)?;
        let texts = quality.calibration_texts(self.options.articles)?;
        let statistics = quality.folder.join(format!("{MODEL}-for-servers.stats.safetensors"));
        quality.collect_of_texts(&model, Some(&texts), &[], &statistics)?;

        let learned = {
            let mut convert = self.convert("int4-group-128", &model, &self.output());
            convert.arg("--stats").arg(&statistics);
            convert
        };
        let mut gptq = self.compress(&["gptq", "W4A16", "--texts"]);
        gptq.arg(&texts).arg(&model).arg(self.output());
        let nearest = self.nearest("int4-group-128", &model, &self.output());
        let commands = [("nearest", nearest), ("learned", learned), ("gptq", gptq)];
        let decoded: Vec<PathBuf> = commands
            .into_iter()
            .map(|(name, command)| self.decoded(name, command))
            .collect::<Result<_>>()?;

        let mut judge = quality.language_model("judge", &opened)?;
        let tokens = self.options.tokens.to_string();
        judge.args(["--length", "256", "--tokens", &tokens]).args(&decoded);
        let judged: Judgement = last_line(&command::output(&mut judge)?)?;
        decoded.iter().try_for_each(fs::remove_file)?;
        let losses: Vec<f64> = judged.results.iter().map(|result| result.kl).collect();
        let [nearest, learned, gptq] = losses[..] else {
            anyhow::bail!("{} of 3 files were judged", losses.len());
        };
        let of_nearest = format!(
            "{learned:.2e} and {nearest:.2e} nats on {} tokens; statistics of {} articles",
            judged.tokens, self.options.articles
        );
        let of_gptq = format!("{learned:.2e} and {gptq:.2e} nats");
        Ok(vec![
            Figure::of(&goal::OVER_NEAREST, learned / nearest, None, of_nearest),
            Figure::of(&goal::OVER_GPTQ, learned / gptq, None, of_gptq),
        ])
    }

    /// Runs a converter, and returns the file of the numbers that its codes stand for.
    fn decoded(&self, name: &str, convert: Command) -> Result<PathBuf> {
        let output = self.output();
        measured(&output, convert)?;
        let decoded =
            self.workspace.target("quality").join(format!("for-servers-{name}.safetensors"));
        let mut decode = Command::new(&self.binary);
        decode.arg("dequantize").arg(&output).arg("-o").arg(&decoded);
        command::run(decode.args(["--dtype", "f32", "--force", "--quiet"]))?;
        remove_folder(&output)?;
        Ok(decoded)
    }

    /// The folder that is converted to, again and again.
    fn output(&self) -> PathBuf {
        self.workspace.target("quality").join("for-servers")
    }

    fn nearest(&self, scheme: &str, input: &Path, output: &Path) -> Command {
        let mut convert = self.convert(scheme, input, output);
        convert.args(["--method", "nearest"]);
        convert
    }

    fn convert(&self, scheme: &str, input: &Path, output: &Path) -> Command {
        let mut convert = Command::new(&self.binary);
        convert.arg("convert").arg(input).args(["--for", "vllm", "--scheme", scheme, "--quiet"]);
        convert.arg("-o").arg(output);
        convert
    }

    fn compress(&self, arguments: &[&str]) -> Command {
        let mut script = self.compressor.command(&[]);
        script.arg(self.workspace.path("xtask/clients/llm_compressor.py")).args(arguments);
        script
    }
}

/// Returns a folder of a language model's files without the weights that lie alone beside them for other
/// measurements: which of two are meant nobody could tell.
fn without_layers(model: &Path) -> Result<PathBuf> {
    let folder = model.with_file_name(format!("{MODEL}-alone"));
    remove_folder(&folder)?;
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(model)? {
        let path = entry?.path();
        let name = path.file_name().expect("an entry has a name");
        if name != "layers.safetensors" {
            fs::hard_link(&path, folder.join(name))?;
        }
    }
    Ok(folder)
}

/// Runs a converter whose output is not there yet, on an idle disk.
fn measured(output: &Path, mut convert: Command) -> Result<MeasuredRun> {
    remove_folder(output)?;
    command::run(&mut Command::new("sync"))?;
    MeasuredRun::of(&mut convert)
}

fn remove_folder(folder: &Path) -> Result<()> {
    match folder.exists() {
        true => Ok(fs::remove_dir_all(folder)?),
        false => Ok(()),
    }
}

/// Returns the size of the weights in a folder.
fn weight_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            bytes += path.metadata()?.len();
        }
    }
    ensure!(bytes > 0, "{} holds no weights", folder.display());
    Ok(bytes)
}
