//! Reads made-up files with everything that reads files of strangers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;
use crate::{command, record};

/// How long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this target
    #[arg(long)]
    target: Option<String>,
}

/// A fuzz target, and the folders of fixtures that it begins with beside `fixtures/fuzz/TARGET`.
const TARGETS: [(&str, &[&str]); 8] = [
    (
        "weight_file",
        &["fixtures/broken", "fixtures/pickled", "fixtures/checkpoints", "fixtures/golden"],
    ),
    ("pickle", &[]),
    ("shard_index", &["fixtures/broken/missing-shard"]),
    ("journal", &[]),
    ("layers", &["fixtures/broken"]),
    ("decoders", &[]),
    ("statistics", &["fixtures/stats", "fixtures/broken"]),
    ("recipe", &[]),
];

/// Name of the record.
pub(crate) const RECORD: &str = "fuzz";

/// Seeds beyond this size are left out: larger files only slow the search down.
const LONGEST_SEED: u64 = 64 << 10;

/// Compiler flags of cargo-fuzz, without its sanitizer, which needs a nightly compiler and finds
/// nothing in safe code.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Stops at the first target that crashes, hangs or takes 2 GiB; the file that does it is named.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = workspace.target("fuzz");
    let mut build = workspace.cargo(&["build", "--release", "--manifest-path"]);
    build.arg(workspace.path("fuzz/Cargo.toml")).arg("--target-dir").arg(&folder);
    // A target of its own keeps the flags off build scripts.
    let host = host()?;
    command::run(build.args(["--target", &host]).env("RUSTFLAGS", FLAGS))?;
    let scratch = Scratch::new()?;
    println!("| target | result |\n|---|---|");
    for (target, seeds) in TARGETS {
        if options.target.as_deref().is_some_and(|only| only != target) {
            continue;
        }
        let corpus = folder.join("corpus").join(target);
        let own = format!("fixtures/fuzz/{target}");
        seed(workspace, &corpus, seeds)?;
        seed(workspace, &corpus, &[&own])?;
        let started = Instant::now();
        let program = folder.join(&host).join("release").join(target);
        let tried = fuzz(&program, &corpus, &scratch, options.seconds)?;
        let seconds = started.elapsed().as_secs_f64();
        let result = format!("{tried} files in {seconds:.0} s, no crash, none over 10 s or 2 GiB");
        println!("| {target} | {result} |");
        record::add(workspace, RECORD, target, &result)?;
    }
    Ok(())
}

fn host() -> Result<String> {
    let told = command::output(Command::new("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc tells no host")?.to_owned())
}

fn seed(workspace: &Workspace, corpus: &Path, folders: &[&str]) -> Result<()> {
    fs::create_dir_all(corpus)?;
    let folders = folders.iter().map(|folder| workspace.path(folder));
    for folder in folders.filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            let path: PathBuf = entry?.path();
            let is_short = path.metadata()?.len() <= LONGEST_SEED;
            if let (true, true, Some(name)) = (path.is_file(), is_short, path.file_name()) {
                fs::copy(&path, corpus.join(name))?;
            }
        }
    }
    Ok(())
}

/// A folder, in memory where there is such a one, for the files that targets are given; removed at the
/// end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let memory = PathBuf::from("/dev/shm");
        let root = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = root.join(format!("roundwise-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Anything left over is in memory, and the system removes it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a fuzz target; returns the number of files that were tried.
fn fuzz(program: &Path, corpus: &Path, scratch: &Scratch, seconds: u64) -> Result<u64> {
    let found = corpus.with_extension("crash-");
    let mut fuzzer = Command::new(program);
    fuzzer.arg(corpus).arg(format!("-max_total_time={seconds}"));
    fuzzer.args(["-rss_limit_mb=2048", "-timeout=10", "-max_len=65536", "-print_final_stats=1"]);
    fuzzer.arg(format!("-artifact_prefix={}", found.display())).env("TMPDIR", &scratch.0);
    let output = fuzzer.output().with_context(|| command::line(&fuzzer))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(30).collect();
    ensure!(
        output.status.success(),
        "{}: {}\n{}\n  the file is beside {}; put it into fixtures/fuzz/TARGET as `found-…` once it is mended",
        output.status,
        command::line(&fuzzer),
        last.into_iter().rev().collect::<Vec<_>>().join("\n"),
        found.display()
    );
    let tried = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    tried.and_then(|text| text.trim().parse().ok()).context("the fuzzer tells no count")
}
