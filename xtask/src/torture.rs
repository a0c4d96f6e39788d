//! Counts the kills, faults and broken files that conversions survive.

mod faults;
mod mutations;
mod parts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roundwise_tensor_file::Checkpoint;

use self::faults::{FaultyDisk, full_disk, writes};
use self::mutations::mutations;
use self::parts::{parts, reversed};
use crate::measured_run::{MeasuredRun, Runs};
use crate::random_model::RandomModel;
use crate::record;
use crate::workspace::Workspace;

/// How much to test.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Files of a conversion with learned rounding that is killed, then continued
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Runs that the overhead is the median of; 0 leaves it out
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Changed headers that must be refused
    #[arg(long, default_value_t = 10_000)]
    mutations: usize,
    /// Moments at which each kind of write fails
    #[arg(long, default_value_t = 20)]
    faults: usize,
    /// Leave out what takes large files: memory and overhead
    #[arg(long)]
    short: bool,
    /// Only the tests whose names hold this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The tool, built already [default: a release build]
    #[arg(long, value_name = "PATH")]
    tool: Option<PathBuf>,
}

impl Options {
    /// Returns the options of a short run, which takes less than a minute.
    pub(crate) fn for_ci(tool: PathBuf) -> Self {
        let (kills, mutations, faults) = (8, 1000, 4);
        Self { kills, runs: 0, mutations, faults, short: true, only: None, tool: Some(tool) }
    }
}

/// Name of the record, which short runs leave as it is.
pub(crate) const RECORD: &str = "torture";

/// Real weights, a layer of MiniLM.
const MODEL: &str = "fixtures/tensors/minilm-layer0.safetensors";

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let tool = match &options.tool {
        Some(tool) => tool.canonicalize().with_context(|| tool.display().to_string())?,
        None => workspace.release_binary()?,
    };
    let folder = workspace.target("torture");
    fs::create_dir_all(&folder)?;
    remove_unfinished(&folder)?;
    let model = workspace.path(MODEL);
    let disk = FaultyDisk::build(&workspace.path("xtask/src/torture/faulty.c"), &folder)?;
    println!("| test | result |\n|---|---|");
    let told = |test: &str, run: &dyn Fn() -> Result<String>| -> Result<()> {
        if options.only.as_deref().is_some_and(|only| !test.contains(only)) {
            return Ok(());
        }
        let result = run().with_context(|| test.to_owned())?;
        println!("| {test} | {result} |");
        match options.short {
            true => Ok(()),
            false => record::add(workspace, RECORD, test, &result),
        }
    };
    told("killed at random moments, then resumed", &|| {
        kills(&tool, &model, &folder, options.kills)
    })?;
    told("writes and syncs that fail, short writes", &|| {
        writes(&tool, &model, &folder, &disk, options.faults)
    })?;
    told("a full disk", &|| full_disk(&tool, &model, &folder))?;
    told("1, 2, 8 threads, three runs each, two input orders", &|| {
        threads(&tool, &model, &folder)
    })?;
    told("1, 4, 16 parts merged", &|| parts(&tool, &model, &folder))?;
    told("changed headers", &|| mutations(&folder, options.mutations))?;
    told("every prefix, every flipped bit of a header", &|| broken_headers(&model, &folder))?;
    if !options.short {
        told("peak memory, 4 GiB against 1 GiB", &|| memory(&tool, &folder))?;
        told("a billion F32 numbers under 1 GiB", &|| billion(&tool, &folder))?;
    }
    if options.runs > 0 && !options.short {
        told("journal, sync and check, nearest FP8 of 1 GiB", &|| {
            overhead(&tool, &folder, &disk, options.runs)
        })?;
    }
    Ok(())
}

/// Removes unfinished outputs, which other commands left when this task was stopped itself.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_unfinished = path.extension().is_some_and(|it| it == "partial" || it == "journal");
        if is_unfinished && path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn command(tool: &Path, input: &Path, output: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command.arg("convert").arg(input).arg("-o").arg(output).args(["--force", "--quiet"]);
    command.args(flags).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

const LEARNED: [&str; 4] = ["--method", "principal", "--top-k", "64"];

fn kills(tool: &Path, model: &Path, folder: &Path, kills: usize) -> Result<String> {
    let output = folder.join("killed.safetensors");
    let learned = || command(tool, model, &output, &LEARNED);
    let started = Instant::now();
    ensure!(learned().arg("--fresh").status()?.success(), "the tool fails");
    let whole_run = started.elapsed();
    let whole = fs::read(&output)?;
    let mut state = 1_u64;
    let mut killed_at_random = || {
        // Xorshift: any moments will do, the same ones every time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        run_for(learned(), whole_run.mul_f64((state % 1000) as f64 / 1000.0))
    };
    let (mut killed, mut files, mut identical) = (0, 0, 0);
    while files < kills {
        let is_killed = killed_at_random()?;
        killed += usize::from(is_killed);
        // Every fourth file is killed again on its second way.
        if is_killed && files % 4 == 3 {
            killed += usize::from(killed_at_random()?);
        }
        if is_killed {
            ensure!(learned().status()?.success(), "a killed run is not continued");
            files += 1;
            identical += usize::from(fs::read(&output)? == whole);
        }
    }
    ensure!(identical == files, "{identical} of {files} files identical");
    Ok(format!("{killed} kills, {identical} of {files} files identical"))
}

/// Runs a command; returns whether it was killed because it did not end in time.
fn run_for(mut command: Command, after: Duration) -> Result<bool> {
    let mut child = command.spawn()?;
    let deadline = Instant::now() + after;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the tool fails: {status}");
            return Ok(false);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn threads(tool: &Path, model: &Path, folder: &Path) -> Result<String> {
    let output = folder.join("threads.safetensors");
    let mut files = Vec::<Vec<u8>>::new();
    let reversed = reversed(model, folder)?;
    for threads in ["1", "2", "8"] {
        for model in [model, model, model, &reversed] {
            let mut learned = command(tool, model, &output, &LEARNED);
            // The order of the input changes its hash.
            let flags = ["--no-provenance", "--threads", threads];
            ensure!(learned.args(flags).status()?.success(), "the tool fails");
            let bytes = fs::read(&output)?;
            if !files.contains(&bytes) {
                files.push(bytes);
            }
        }
    }
    ensure!(files.len() == 1, "{} different files", files.len());
    Ok("one hash".to_owned())
}

/// Opens what is left of a file after damage to its header; a panic would end this task.
fn broken_headers(model: &Path, folder: &Path) -> Result<String> {
    let path = folder.join("broken.safetensors");
    let whole = fs::read(model)?;
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().context("a header")?) as usize;
    let tensors = Checkpoint::open(model)?.tensors().to_vec();
    let mut refused = 0;
    for length in 0..header {
        fs::write(&path, &whole[..length])?;
        refused += usize::from(Checkpoint::open(&path).is_err());
    }
    // Damage in place, so that the data need not be written again and again.
    fs::write(&path, &whole)?;
    let file = fs::File::options().write(true).open(&path)?;
    let (mut told, mut same, mut other) = (0, 0, 0);
    for bit in 0..header * 8 {
        use std::os::unix::fs::FileExt;
        let at = bit / 8;
        file.write_all_at(&[whole[at] ^ 1 << (bit % 8)], at as u64)?;
        match Checkpoint::open(&path) {
            Err(_) => told += 1,
            Ok(opened) if opened.tensors() == tensors => same += 1,
            Ok(_) => other += 1,
        }
        file.write_all_at(&[whole[at]], at as u64)?;
    }
    Ok(format!(
        "0 panics; {refused} of {header} prefixes refused; flips: {told} refused, {same} without effect, \
         {other} another name, dtype or shape that fits"
    ))
}

fn memory(tool: &Path, folder: &Path) -> Result<String> {
    let output = folder.join("memory.safetensors");
    let peak = |units| -> Result<u64> {
        let model = RandomModel::of_units(units).file(folder)?;
        let flags = ["--threads", "2"];
        Ok(MeasuredRun::of(&mut command(tool, &model, &output, &flags))?.peak_bytes)
    };
    let [small, large] = [peak(1)?, peak(4)?];
    let growth = (large as f64 / small as f64 - 1.0) * 100.0;
    ensure!(growth <= 5.0, "{growth:+.1} %");
    Ok(format!("{} MiB against {} MiB, {growth:+.1} %", large >> 20, small >> 20))
}

/// Converts one weight of 2³⁰ numbers, zeros that take no room on the disk.
fn billion(tool: &Path, folder: &Path) -> Result<String> {
    const LIMIT: u64 = 1 << 30;
    let path = folder.join("billion.safetensors");
    let bytes = 4_u64 << 30;
    let header = format!(
        r#"{{"table.weight":{{"dtype":"F32","shape":[262144,4096],"data_offsets":[0,{bytes}]}}}}"#
    );
    // A sparse file: only the header is written, and the length set behind it.
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat())?;
    let file = fs::File::options().write(true).open(&path)?;
    file.set_len(8 + header.len() as u64 + bytes)?;
    let output = folder.join("billion-fp8.safetensors");
    let flags = ["--memory-limit", "1GiB", "--no-provenance"];
    let run = MeasuredRun::of(&mut command(tool, &path, &output, &flags))?;
    fs::remove_file(&output)?;
    ensure!(run.peak_bytes <= LIMIT, "{} MiB", run.peak_bytes >> 20);
    Ok(format!("{} MiB, {:.0} s", run.peak_bytes >> 20, run.seconds))
}

/// Measures the cost of a safe run: waiting for the disk, with the journal's lines in between, and
/// reading the output again. The hash of the input, which provenance wants, is reported apart.
fn overhead(tool: &Path, folder: &Path, disk: &FaultyDisk, runs: usize) -> Result<String> {
    let model = RandomModel::of_units(1).file(folder)?;
    let output = folder.join("overhead.safetensors");
    let seconds = |waits: bool, flags: &[&str]| -> Result<f64> {
        let convert = || match (waits, command(tool, &model, &output, flags)) {
            (true, convert) => convert,
            (false, convert) => disk.without_syncs(convert),
        };
        Ok(Runs::repeat(runs, || MeasuredRun::of(&mut convert()))?.median_seconds)
    };
    let bare = seconds(false, &["--no-verify", "--no-provenance"])?;
    let synced = seconds(true, &["--no-verify", "--no-provenance"])?;
    let checked = seconds(true, &["--no-provenance"])?;
    let hashed = seconds(true, &[])?;
    let [synced, checked, hashed] =
        [synced, checked, hashed].map(|seconds| (seconds / bare - 1.0) * 100.0);
    Ok(format!(
        "{bare:.2} s without; {synced:+.0} % with syncs, {checked:+.0} % with the check as well, \
         {hashed:+.0} % with the hash of the input as well"
    ))
}
