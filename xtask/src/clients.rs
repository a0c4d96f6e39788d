use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::command;
use crate::python::{COMFY, GGUF, Python, READERS, SERVERS};
use crate::record;
use crate::workspace::Workspace;

/// Which models, with which interpreter.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the committed model; torch and comfy-kitchen are used if they are there, not installed.
    #[arg(long)]
    pub(crate) short: bool,
    /// Python to use as it is [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
}

/// (scheme, layout) of every file that is made.
const CASES: [(&str, &str); 21] = [
    ("fp8", "comfy"),
    ("fp8", "comfy-legacy"),
    ("fp8-e5m2", "comfy"),
    ("fp8-row", "comfy"),
    ("fp8-block-64", "comfy"),
    ("fp8-block-128", "comfy"),
    ("fp8-block3d-64", "comfy"),
    ("int8", "comfy"),
    ("int8-row", "comfy"),
    ("int8-block-64", "comfy"),
    ("int8-block-128", "comfy"),
    ("int8-row-convrot", "comfy"),
    ("int8-row-convrot-16", "comfy"),
    ("int4-convrot", "comfy"),
    ("int4-convrot-16", "comfy"),
    ("int4-asym", "comfy"),
    ("mxfp8", "comfy"),
    ("hybrid-mxfp8", "comfy"),
    ("nvfp4", "comfy"),
    ("fp16", "comfy"),
    ("bf16", "comfy"),
];

/// Committed model, and those that `clients/weights.py` makes.
const FIXTURE: &str = "fixtures/tensors/minilm-layer0.safetensors";
const REAL_MODELS: [&str; 2] = ["minilm", "mpnet"];

/// The findings of the readers in one file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) model: String,
    pub(crate) scheme: String,
    pub(crate) layout: String,
    /// `‖Ŵ − W‖ / ‖W‖` of all converted weights together.
    pub(crate) weight_error: Option<f64>,
    /// `‖Ŵ − W‖ / ‖W‖` of every layer, in order.
    #[serde(skip)]
    layer_errors: Vec<f64>,
    #[serde(flatten)]
    pub(crate) judged: Judged,
}

/// The part of the report of `convert` that is read here.
#[derive(Deserialize)]
struct Report {
    weight_error: Option<f64>,
    tensors: Vec<TensorReport>,
}

#[derive(Deserialize)]
struct TensorReport {
    weight_error: Option<f64>,
}

/// The part of a finding that `clients/check.py` prints.
#[derive(Serialize, Deserialize)]
pub(crate) struct Judged {
    /// Quantized layers.
    pub(crate) layers: usize,
    /// Comparisons made.
    pub(crate) checks: usize,
    /// Largest `‖Ŵ − W‖ / ‖W‖` of a layer.
    pub(crate) worst_weight_error: Option<f64>,
    /// Layers that comfy-kitchen decoded.
    pub(crate) kitchen_layers: usize,
    /// Largest relative difference of its product with such a layer from ours.
    pub(crate) worst_linear_error: Option<f64>,
    /// Defects that were found.
    pub(crate) defects: Vec<String>,
}

/// The output of `clients/servers.py` for one format.
#[derive(Deserialize)]
struct ServerFormat {
    format: String,
    /// Numbers that were compared.
    numbers: usize,
    defects: Vec<String>,
}

/// Converts, judges and prints every case; fails if anything differs.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let packages = if options.short { READERS } else { COMFY };
    let python = Python::with(workspace, options.python.as_deref(), packages)?;
    let golden = workspace.path("fixtures/scripts/golden.py");
    command::output(python.command(&[]).arg(golden).arg("--check"))?;
    command::output(python.command(&[]).arg(workspace.path("xtask/clients/self_test.py")))?;

    if python.imports("torch, safetensors") {
        let test = workspace.path("crates/stats/collector/test_collector.py");
        command::output(python.command(&[]).arg(test))?;
    }
    let has_kitchen = python.imports("torch, comfy_kitchen");
    ensure!(options.short || has_kitchen, "comfy-kitchen does not import in this Python");
    let binary =
        if options.short { workspace.test_binary()? } else { workspace.release_binary()? };
    let bench = Clients { workspace, python, binary, has_kitchen };

    let mut findings = Vec::new();
    println!("{HEADING}");
    for (model, file) in bench.models(options.short)? {
        let first = findings.len();
        for (scheme, layout) in CASES {
            let finding = bench.judge(&model, &file, scheme, layout)?;
            print_row(&finding);
            findings.push(finding);
        }
        println!("{}", rotation_gain(&findings[first..]));
    }
    let defects: usize = findings.iter().map(|finding| finding.judged.defects.len()).sum();
    let defects = defects + bench.judge_servers(options)?;
    if !options.short {
        bench.judge_blocks(options)?;
        record::write(workspace, "clients", &findings)?;
    }
    if defects > 0 {
        bail!("{defects} differences");
    }
    Ok(())
}

struct Clients<'a> {
    workspace: &'a Workspace,
    python: Python,
    binary: PathBuf,
    has_kitchen: bool,
}

impl Clients<'_> {
    fn models(&self, short: bool) -> Result<Vec<(String, PathBuf)>> {
        let mut models = vec![("minilm-layer0".to_owned(), self.workspace.path(FIXTURE))];
        let folder = self.workspace.target("weights");
        fs::create_dir_all(&folder)?;
        let ragged = folder.join("ragged.safetensors");
        let script = self.workspace.path("xtask/clients/ragged.py");
        command::run(self.python.command(&[]).arg(script).arg(&ragged))?;
        models.push(("ragged".to_owned(), ragged));
        for name in REAL_MODELS.iter().filter(|_| !short) {
            let script = self.workspace.path("xtask/clients/weights.py");
            command::run(self.python.command(&[]).arg(script).arg(name).arg(&folder))?;
            models.push(((*name).to_owned(), folder.join(format!("{name}.safetensors"))));
        }
        Ok(models)
    }

    /// Compares decoded blocks of GGUF, random ones and those of a real model, with what the gguf
    /// package gives.
    fn judge_blocks(&self, options: &Options) -> Result<()> {
        let python = Python::with(self.workspace, options.python.as_deref(), GGUF)?;
        ensure!(python.imports("gguf"), "gguf does not import in this Python");
        let program = self.workspace.release_example("to_safetensors")?;
        let folder = self.workspace.target("weights");
        let script = |name| {
            let mut script = python.command(&[]);
            script.arg(self.workspace.path(name));
            script
        };
        command::output(script("fixtures/scripts/gguf_blocks.py").arg("--check"))?;
        command::run(script("xtask/clients/weights.py").arg("gemma").arg(&folder))?;
        let model = folder.join("gemma.gguf");
        command::run(script("xtask/clients/gguf_decoded.py").arg(program).arg(model))
    }

    /// Decodes files of servers and has their own libraries do the same. Returns the number of
    /// differences.
    fn judge_servers(&self, options: &Options) -> Result<usize> {
        let packages = if options.short { READERS } else { SERVERS };
        let python = Python::with(self.workspace, options.python.as_deref(), packages)?;
        if !python.imports("torch, compressed_tensors, transformers") {
            ensure!(options.short, "compressed-tensors does not import in this Python");
            return Ok(0);
        }
        let mut script = python.command(&[]);
        script.arg(self.workspace.path("xtask/clients/servers.py")).arg(&self.binary);
        let text = command::output(&mut script)?;
        let formats: Vec<ServerFormat> =
            serde_json::from_str(&text).with_context(|| format!("read {text}"))?;
        println!("\nformat of servers          numbers");
        for ServerFormat { format, numbers, defects } in &formats {
            println!("{format:<26} {numbers:>7} decoded as by its own library");
            defects.iter().for_each(|defect| println!("  DIFFERS {defect}"));
        }
        Ok(formats.iter().map(|format| format.defects.len()).sum())
    }

    /// Converts a model and has the readers look at it. The file stays only if it has a defect.
    fn judge(&self, model: &str, input: &Path, scheme: &str, layout: &str) -> Result<Finding> {
        let folder = self.workspace.target("clients");
        fs::create_dir_all(&folder)?;
        let output = folder.join(format!("{model}-{scheme}-{layout}.safetensors"));
        let report = self.convert(input, &output, scheme, layout)?;
        let verified = output.with_extension("verify.json");
        fs::write(&verified, self.verify(input, &output)?)?;

        let judged = self.check(input, &output, scheme, layout, &verified)?;
        if judged.defects.is_empty() {
            fs::remove_file(&output)?;
            fs::remove_file(&verified)?;
        }
        Ok(Finding {
            model: model.to_owned(),
            scheme: scheme.to_owned(),
            layout: layout.to_owned(),
            weight_error: report.weight_error,
            layer_errors: report.tensors.iter().filter_map(|tensor| tensor.weight_error).collect(),
            judged,
        })
    }

    fn convert(&self, input: &Path, output: &Path, scheme: &str, layout: &str) -> Result<Report> {
        let mut convert = Command::new(&self.binary);
        convert.arg("convert").arg(input).arg("-o").arg(output);
        convert.args(["--scheme", scheme, "--layout", layout]);
        convert.args([
            "--scale-rule",
            "absmax",
            "--rounding",
            "nearest",
            "--force",
            "--fresh",
            "--json",
        ]);
        let text = command::output(&mut convert)?;
        serde_json::from_str(&text).with_context(|| format!("read {text}"))
    }

    /// Returns the report of `verify`, whatever its exit code: the readers judge what it found as well.
    fn verify(&self, input: &Path, output: &Path) -> Result<Vec<u8>> {
        let mut verify = Command::new(&self.binary);
        verify.arg("verify").arg(input).arg(output).arg("--json");
        let result = verify.output().with_context(|| command::line(&verify))?;
        let complaint = String::from_utf8_lossy(&result.stderr);
        ensure!(!result.stdout.is_empty(), "{}\n{complaint}", command::line(&verify));
        Ok(result.stdout)
    }

    fn check(
        &self,
        input: &Path,
        output: &Path,
        scheme: &str,
        layout: &str,
        verified: &Path,
    ) -> Result<Judged> {
        let mut check = self.python.command(&[]);
        check.arg(self.workspace.path("xtask/clients/check.py"));
        check.arg("--original").arg(input).arg("--converted").arg(output);
        check.args(["--scheme", scheme]).arg("--verify").arg(verified);
        if layout == "comfy-legacy" {
            check.arg("--legacy");
        }
        if self.has_kitchen {
            check.arg("--kitchen");
        }
        let text = command::output(&mut check)?;
        serde_json::from_str(&text).with_context(|| format!("read {text}"))
    }
}

/// Describes on how many layers of a model rotated rows are better than plain ones.
fn rotation_gain(findings: &[Finding]) -> String {
    let of = |scheme: &str| {
        let found = findings.iter().find(|finding| finding.scheme == scheme);
        found.map_or(&[][..], |finding| &finding.layer_errors)
    };
    let pairs: Vec<_> = of("int8-row").iter().zip(of("int8-row-convrot")).collect();
    let better = pairs.iter().filter(|(plain, rotated)| rotated < plain).count();
    format!("  `int8-row-convrot` is better than `int8-row` on {better} of {} layers", pairs.len())
}

const HEADING: &str = "\
model          scheme              layout        layers  checks    weights     worst  by comfy-kitchen";

fn print_row(finding: &Finding) {
    let Judged { layers, checks, worst_weight_error, kitchen_layers, worst_linear_error, defects } =
        &finding.judged;
    let kitchen = match worst_linear_error {
        Some(error) => format!("{kitchen_layers} layers, product within {error:.1e}"),
        None => "-".to_owned(),
    };
    let percent = |error: Option<f64>| {
        error.map_or("-".to_owned(), |error| format!("{:.3} %", error * 100.0))
    };
    println!(
        "{:<14} {:<19} {:<13} {layers:>6} {checks:>7} {:>10} {:>9} {kitchen}",
        finding.model,
        finding.scheme,
        finding.layout,
        percent(finding.weight_error),
        percent(*worst_weight_error),
    );
    for defect in defects {
        println!("  DIFFERS {defect}");
    }
}
