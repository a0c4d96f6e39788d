use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Figure;
use crate::browser::Browser;
use crate::command;
use crate::goal::{Goal, number, studio};
use crate::measured_run::{MeasuredRun, median};
use crate::random_model::RandomModel;
use crate::record;
use crate::workspace::Workspace;

/// How much of it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Repetitions of what is timed; the median counts
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// The tool without the studio, built already [default: it is built, which takes minutes]
    #[arg(long, value_name = "PATH")]
    without: Option<PathBuf>,
    /// The tool, built already [default: a release build]
    #[arg(long, value_name = "PATH")]
    tool: Option<PathBuf>,
}

/// Tensors of the model that is planned.
const TENSORS: usize = 5000;

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let bench = Bench {
        without: without(workspace, options)?,
        tool: match &options.tool {
            Some(tool) => tool.clone(),
            None => workspace.release_binary()?,
        },
        folder: workspace.target("bench"),
        runs: options.runs.max(1),
    };
    let model = RandomModel::of_squares(TENSORS, 16).file(&bench.folder)?;
    let mut figures = bench.sizes(workspace)?;
    figures.extend(bench.server(&model)?);
    figures.extend(bench.page(workspace, &model)?);
    figures.push(bench.events()?);
    record::write(workspace, "studio", figures)
}

/// The size of the program without the studio, built before the one with it: both lie in one place.
fn without(workspace: &Workspace, options: &Options) -> Result<u64> {
    let path = match &options.without {
        Some(path) => path.clone(),
        None => {
            let build = ["build", "--profile", "dist", "--package", "roundwise"];
            command::run(workspace.cargo(&build).arg("--no-default-features"))?;
            workspace.target("dist/roundwise").with_extension(std::env::consts::EXE_EXTENSION)
        }
    };
    Ok(path.metadata().with_context(|| path.display().to_string())?.len())
}

struct Bench {
    tool: PathBuf,
    /// Bytes of the tool without the studio.
    without: u64,
    folder: PathBuf,
    runs: usize,
}

fn figure(goal: &Goal, reached: f64, remark: impl Into<String>) -> Figure {
    let remark = remark.into();
    println!("{:<62} {:>9}  {remark}", goal.name, number(reached));
    Figure::of(goal, reached, None, remark)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

impl Bench {
    /// Sizes of the program and its page.
    fn sizes(&self, workspace: &Workspace) -> Result<Vec<Figure>> {
        let with = self.tool.metadata()?.len();
        let added = with as f64 - self.without as f64;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let remark = format!("{} MiB with it", number(mib(with as f64)));
        let (mut bytes, mut lines) = (0, 0);
        for_each_file(&workspace.path("crates/studio/page"), &mut |path| {
            let text = fs::read_to_string(path)?;
            bytes += text.len();
            if path.extension().is_some_and(|ending| ending == "js") {
                lines += text.lines().count();
            }
            Ok(())
        })?;
        Ok(vec![
            figure(&studio::BINARY, mib(added), remark),
            figure(
                &studio::PAGE,
                bytes as f64 / 1024.0,
                "as it is written; the program has it packed",
            ),
            figure(&studio::LINES, lines as f64, "comments and empty lines included"),
        ])
    }

    /// How fast the server answers, and what it takes.
    fn server(&self, model: &Path) -> Result<Vec<Figure>> {
        let mut links = vec![];
        for _ in 0..self.runs {
            let started = Instant::now();
            Studio::start(&self.tool, &self.folder)?;
            links.push(milliseconds(started));
        }
        let server = Studio::start(&self.tool, &self.folder)?;
        let request = json!({ "input": model });
        let time = |path: &str| -> Result<(f64, f64)> {
            let started = Instant::now();
            server.post(path, &request)?;
            let first = milliseconds(started);
            let mut times = vec![];
            for _ in 0..self.runs {
                let started = Instant::now();
                server.post(path, &request)?;
                times.push(milliseconds(started));
            }
            Ok((first, median(&times)))
        };
        let (first_plan, plan) = time("/api/plan")?;
        let (_, sizes) = time("/api/sizes")?;
        Ok(vec![
            figure(&studio::LINK, median(&links), ""),
            figure(&studio::PLAN, plan, format!("{} the first time", number(first_plan))),
            figure(&studio::SIZES, sizes, ""),
            figure(&studio::MEMORY, server.resident_mib()?, "resident, after plans and sizes"),
        ])
    }

    /// Times that a browser measures.
    fn page(&self, workspace: &Workspace, model: &Path) -> Result<Vec<Figure>> {
        let script = workspace.path("crates/studio/browser/measure.js");
        let Some(browser) = Browser::find(workspace, true)? else { return Ok(vec![]) };
        let server = Studio::start(&self.tool, &self.folder)?;
        let mut node = browser.node(workspace);
        node.arg(script).arg(&server.address).arg(model);
        let measured: Value = serde_json::from_str(&command::output(&mut node)?)?;
        let rows = [
            (&studio::PAINT, "first_paint_ms"),
            (&studio::SHOWN, "plan_shown_ms"),
            (&studio::FILTER, "filter_ms"),
            (&studio::FRAMES, "frames_95_ms"),
            (&studio::WORST_FRAME, "frame_worst_ms"),
        ];
        let figures = rows.into_iter().map(|(goal, key)| {
            let reached =
                measured[key].as_f64().with_context(|| format!("no {key}: {measured}"))?;
            Ok(figure(goal, reached, "Chromium without a display"))
        });
        figures.collect()
    }

    /// Cost of events to a conversion.
    fn events(&self) -> Result<Figure> {
        let input = RandomModel::of_squares(128, 1024).file(&self.folder)?;
        let output = self.folder.join("studio-events.safetensors");
        let run = |flags: &[&str]| -> Result<f64> {
            let mut command = Command::new(&self.tool);
            command.arg("convert").arg(&input).arg("-o").arg(&output).arg("--force");
            command.args(["--no-provenance", "--no-verify"]).args(flags);
            // As long as standard input stays open, nobody asks to stop.
            let child = command.stdin(Stdio::piped());
            Ok(MeasuredRun::of(child)?.seconds)
        };
        // Once unmeasured, so that the input is in the page cache for both.
        run(&["--quiet"])?;
        let (mut without, mut with) = (vec![], vec![]);
        for _ in 0..self.runs {
            without.push(run(&["--quiet"])?);
            with.push(run(&["--events"])?);
        }
        fs::remove_file(&output)?;
        let (without, with) = (median(&without), median(&with));
        Ok(figure(&studio::EVENTS, with / without, format!("{with:.3} s, {without:.3} s without")))
    }
}

fn for_each_file(folder: &Path, look: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => for_each_file(&path, look)?,
            false => look(&path)?,
        }
    }
    Ok(())
}

/// A server that ends when it is dropped.
struct Studio {
    child: Child,
    address: String,
}

impl Studio {
    fn start(tool: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(tool);
        command.args(["studio", "--no-open", "--port", "0", "--state"]);
        command.arg(folder.join("studio-state"));
        let mut child = command.stdout(Stdio::piped()).spawn().context("start the studio")?;
        let mut line = String::new();
        let out = child.stdout.take().context("stdout is piped")?;
        BufReader::new(out).read_line(&mut line)?;
        let address = line.split_whitespace().last().unwrap_or_default().to_owned();
        ensure!(address.contains("#key="), "the studio said: {line}");
        Ok(Self { child, address })
    }

    fn post(&self, path: &str, body: &Value) -> Result<String> {
        let rest = self.address.strip_prefix("http://").context("no address")?;
        let (host, key) = rest.split_once("/#key=").context("no key")?;
        let body = body.to_string();
        let mut stream = TcpStream::connect(host)?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:.300}");
        Ok(answer)
    }

    fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib = line.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok());
        Ok(kib.context("VmRSS is no number")? / 1024.0)
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
