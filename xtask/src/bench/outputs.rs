use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::command;
use crate::python::{Python, SENTENCES};
use crate::record::{self, Record};
use crate::workspace::Workspace;

/// Which models, how much text, with which interpreter.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Models to convert.
    #[arg(long, value_delimiter = ',', value_parser = MODELS, default_values = MODELS)]
    models: Vec<String>,
    /// Articles that the models read, up to 300.
    #[arg(long, default_value_t = 100)]
    texts: usize,
    /// Only these methods [default: all but those that take many minutes on a small model].
    #[arg(long, value_delimiter = ',', value_parser = method_name)]
    methods: Vec<String>,
    /// Python with torch and tokenizers [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

const SCHEMES: [&str; 2] = ["fp8", "int8-row"];

/// Methods as they are typed.
const METHODS: [&str; 10] = [
    "nearest",
    "principal --weight-error-budget 0.002",
    "principal --weight-error-budget 0.005",
    "principal --weight-error-budget 0.01",
    "principal",
    "principal --effort high",
    "principal-input",
    "sampled",
    "tpec",
    "tpec-fast",
];

/// Those that take hundreds of gradients.
const SLOW_METHODS: [&str; 4] = [
    "principal --optimizer original --iterations 500",
    "principal --optimizer adamw --iterations 300",
    "adaround",
    "adaround-fast",
];

/// Returns the method without its options.
fn name_of(typed: &str) -> &str {
    typed.split(' ').next().unwrap_or(typed)
}

fn method_name(name: &str) -> Result<String> {
    let mut known = METHODS.iter().chain(&SLOW_METHODS).map(|typed| name_of(typed));
    ensure!(known.any(|known| known == name), "no method is measured by this name");
    Ok(name.to_owned())
}

/// The effect of one method on one model.
#[derive(Serialize, Deserialize)]
pub(crate) struct Outputs {
    pub(crate) model: String,
    pub(crate) scheme: String,
    pub(crate) method: String,
    /// Whole conversion.
    pub(crate) seconds: f64,
    /// `‖E‖ / ‖W‖` over all layers.
    pub(crate) weight_error: f64,
    /// Root of the declared objectives' sum over layers, stored codes over nearest ones.
    pub(crate) objective_ratio: Option<f64>,
    /// Layers that kept nearest codes.
    pub(crate) kept_nearest: usize,
    #[serde(flatten)]
    pub(crate) judged: Judged,
}

/// The output of `clients/outputs.py` for one file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Judged {
    /// Mean of 1 − cosine of sentence embeddings to those of the float model.
    pub(crate) embedding_error: f64,
    /// Mean over layers of the relative squared error of a layer's outputs.
    pub(crate) output_error: f64,
    /// Relative squared error of the outputs of each layer.
    pub(crate) layers: std::collections::BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Judged>,
}

/// The part of `roundwise convert --json` that is read here.
#[derive(Deserialize)]
struct Summary {
    weight_error: f64,
    rounding: Option<Totals>,
}

#[derive(Deserialize)]
struct Totals {
    objective_ratio: Option<f64>,
    nearest_layers: usize,
}

/// Converts every model with every method and has each read the same text.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let encoders = Encoders::new(workspace, options.python.as_deref())?;
    let bench = OutputsBench { encoders, options };
    println!("{HEADING}");
    for model in &options.models {
        for scheme in SCHEMES {
            for method in bench.methods() {
                let row = bench.measure(model, scheme, method)?;
                print_row(&row);
                store(workspace, row)?;
            }
        }
    }
    Ok(())
}

/// Models whose outputs are compared.
pub(crate) const MODELS: [&str; 2] = ["minilm", "mpnet"];

/// Stores a row beside those of this very state of the tree: a run may have been interrupted.
fn store(workspace: &Workspace, row: Outputs) -> Result<()> {
    let is_slow = SLOW_METHODS.contains(&row.method.as_str());
    let [quick, slow] = records_of(&row.model);
    let name = if is_slow { slow } else { quick };
    let commit = workspace.commit()?;
    let stored: Option<Record<Vec<Outputs>>> = record::read_here(workspace, &name)?;
    // Rows of different states of the tree would stand in one table as if they could be compared.
    let of_commit = stored.filter(|record| record.commit == commit);
    let mut rows = of_commit.map(|record| record.measured).unwrap_or_default();
    rows.retain(|other| (&other.scheme, &other.method) != (&row.scheme, &row.method));
    rows.push(row);
    record::write(workspace, &name, &rows)
}

/// Returns the names of the stored measurements of a model: those that take seconds, and those that
/// take minutes and are made less often.
pub(crate) fn records_of(model: &str) -> [String; 2] {
    [format!("outputs-{model}"), format!("outputs-{model}-slow")]
}

/// Sentence encoders that read text, as they are and converted.
pub(super) struct Encoders<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) python: Python,
    pub(super) binary: PathBuf,
}

impl<'a> Encoders<'a> {
    pub(super) fn new(workspace: &'a Workspace, python: Option<&Path>) -> Result<Self> {
        Self::with(workspace, python, SENTENCES)
    }

    /// Returns the encoders with a Python interpreter that has `packages`.
    ///
    /// - `packages`: what the interpreter is to have
    pub(super) fn with(
        workspace: &'a Workspace,
        python: Option<&Path>,
        packages: &[&str],
    ) -> Result<Self> {
        let python = Python::with(workspace, python, packages)?;
        Ok(Self { workspace, python, binary: workspace.release_binary()? })
    }

    /// Returns the file of a model.
    pub(super) fn file(&self, model: &str) -> Result<PathBuf> {
        self.download(model, &format!("{model}.safetensors"))
    }

    /// Returns a file that `clients/weights.py` makes.
    pub(super) fn download(&self, name: &str, file: &str) -> Result<PathBuf> {
        let folder = self.workspace.target("weights");
        let script = self.workspace.path("xtask/clients/weights.py");
        command::run(self.python.command(&[]).arg(script).arg(name).arg(&folder))?;
        Ok(folder.join(file))
    }

    /// Returns the texts that models read.
    pub(super) fn texts(&self) -> Result<PathBuf> {
        self.download("texts", "texts.txt")
    }

    /// Returns the command of a program of `clients/` about a model, its tokenizer and `count`
    /// texts from `first` on.
    pub(super) fn script(
        &self,
        name: &str,
        model: &str,
        flag: &str,
        [first, count]: [usize; 2],
    ) -> Result<Command> {
        let file = self.file(model)?;
        let mut script = self.python.command(&[]);
        script.arg(self.workspace.path("xtask/clients").join(name)).arg(flag).arg(&file);
        script.arg("--tokenizer").arg(file.with_extension("tokenizer.json"));
        script.arg("--texts").arg(self.texts()?);
        script.arg("--first").arg(first.to_string()).arg("--count").arg(count.to_string());
        Ok(script)
    }

    /// Has converted models read texts.
    pub(super) fn judge(
        &self,
        model: &str,
        texts: [usize; 2],
        converted: &[PathBuf],
    ) -> Result<Vec<Judged>> {
        let mut judge = self.script("outputs.py", model, "--original", texts)?;
        let text = command::output(judge.args(converted))?;
        let answer: Answer = serde_json::from_str(&text).with_context(|| format!("read {text}"))?;
        ensure!(answer.results.len() == converted.len(), "every file was judged");
        Ok(answer.results)
    }
}

struct OutputsBench<'a> {
    encoders: Encoders<'a>,
    options: &'a Options,
}

impl OutputsBench<'_> {
    fn methods(&self) -> impl Iterator<Item = &'static str> {
        let asked = &self.options.methods;
        let slow = SLOW_METHODS.iter().filter(|_| !asked.is_empty());
        let is_asked =
            |typed: &&str| asked.is_empty() || asked.iter().any(|name| name == name_of(typed));
        METHODS.iter().chain(slow).copied().filter(is_asked)
    }

    fn measure(&self, model: &str, scheme: &str, method: &str) -> Result<Outputs> {
        let input = self.encoders.file(model)?;
        let folder = self.encoders.workspace.target("outputs");
        fs::create_dir_all(&folder)?;
        let output = folder.join(format!("{model}-{scheme}.safetensors"));
        let start = Instant::now();
        let summary = self.convert(&input, &output, scheme, method)?;
        let seconds = start.elapsed().as_secs_f64();
        let texts = [0, self.options.texts];
        let judged = self.encoders.judge(model, texts, std::slice::from_ref(&output))?;
        let judged = judged.into_iter().next().context("nothing was judged")?;
        fs::remove_file(&output)?;
        let rounding = summary.rounding.as_ref();
        Ok(Outputs {
            model: model.to_owned(),
            scheme: scheme.to_owned(),
            method: method.to_owned(),
            seconds,
            weight_error: summary.weight_error,
            objective_ratio: rounding.and_then(|totals| totals.objective_ratio),
            kept_nearest: rounding.map_or(0, |totals| totals.nearest_layers),
            judged,
        })
    }

    fn convert(&self, input: &Path, output: &Path, scheme: &str, method: &str) -> Result<Summary> {
        let mut convert = Command::new(&self.encoders.binary);
        convert.arg("convert").arg(input).arg("-o").arg(output);
        convert.args(["--scheme", scheme, "--force", "--fresh", "--json", "--method"]);
        let text = command::output(convert.args(method.split(' ')))?;
        serde_json::from_str(&text).with_context(|| format!("read {text}"))
    }
}

const HEADING: &str = "\
model   scheme    method                                        seconds   ‖E‖/‖W‖  objective  \
outputs²  embeddings";

fn print_row(row: &Outputs) {
    println!(
        "{:<7} {:<9} {:<46} {:>6.1} {:>8.3} % {:>10} {:>9.3e} {:>11.3e}",
        row.model,
        row.scheme,
        row.method,
        row.seconds,
        row.weight_error * 100.0,
        row.objective_ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.3}")),
        row.judged.output_error,
        row.judged.embedding_error,
    );
}
