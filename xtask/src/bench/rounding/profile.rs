//! Where the time of learned rounding goes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::command;
use crate::record;
use crate::workspace::Workspace;

/// Name of the stored profile.
pub(crate) const RECORD: &str = "rounding-profile";

/// Shares of the processors' time that one method takes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) name: String,
    /// Of one layer, by the clock.
    pub(crate) seconds: f64,
    /// In the order of [`KINDS`], then what is none of these; waiting is of all processors' time, the others
    /// share what is left. Together 1.
    pub(crate) shares: Vec<f64>,
}

/// Kinds of work, and parts of the names of functions that do it. The first kind with a match has a function.
const KINDS: [(&str, &[&str]); 6] = [
    ("products", &["gemm", "matmul", "matvec", "pack_lhs", "pack_rhs"]),
    ("factorisations", &["cholesky", "ldlt", "triangular", "householder", "qr::", "svd", "evd"]),
    ("turning", &["transpose", "rotat", "hadamard", "butterfl"]),
    ("cells", &["roundwise_grid", "roundwise_rounding", "roundwise_scheme", "roundwise_optim"]),
    ("copies", &["memcpy", "memmove", "memset", "copy_from", "clone"]),
    (
        "allocation",
        &["malloc", "free", "alloc", "page", "folio", "fault", "mmap", "munmap", "zap_"],
    ),
];

/// Functions of processors that have nothing to do but look for work.
const WAITING: [&str; 6] = ["crossbeam", "rayon_core", "sched", "futex", "yield", "idle"];

pub(crate) const WAITING_HEAD: &str = "waiting";
pub(crate) const OTHER_HEAD: &str = "other";

/// Returns the names of all shares, in their order.
pub(crate) fn heads() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(kind, _)| *kind).chain([WAITING_HEAD, OTHER_HEAD])
}

/// A method on one layer, as the example `layer_speed` takes it.
struct Case {
    name: &'static str,
    size: &'static str,
    known: &'static str,
    method: &'static str,
    keys: &'static str,
}

const CASES: [Case; 5] = [
    Case {
        name: "`activations`, full H, 3072²",
        size: "3072",
        known: "full",
        method: "activations",
        keys: "",
    },
    Case {
        name: "`activations`, rank 64 + diagonal, 3072²",
        size: "3072",
        known: "64",
        method: "activations",
        keys: "",
    },
    Case {
        name: "`principal`, `fast`, k = 614, 3072²",
        size: "3072",
        known: "none",
        method: "principal",
        keys: "effort = 'fast'\ntop_p = 0.2",
    },
    Case {
        name: "`principal`, `normal`, k = 614, 3072²",
        size: "3072",
        known: "none",
        method: "principal",
        keys: "effort = 'normal'\ntop_p = 0.2",
    },
    Case {
        name: "`adaround`, 512 iterations, 1024²",
        size: "1024",
        known: "none",
        method: "adaround",
        keys: "iterations = 512",
    },
];

/// Rounds that are sampled beside a run of one: their difference is of rounding alone, without what makes
/// the layer and its statistics.
const ROUNDS: usize = 4;

/// Samples what the processors do, through Linux's `perf`.
pub(super) fn measure(workspace: &Workspace, folder: &Path) -> Result<()> {
    ensure!(
        command::succeeds(Command::new("perf").arg("--version")),
        "no `perf` is here (Debian: linux-perf), which samples the processors"
    );
    // Not as programs are released: those have no names of functions.
    let build = ["build", "--quiet", "--release", "--workspace", "--example", "layer_speed"];
    command::run(&mut workspace.cargo(&build))?;
    std::fs::create_dir_all(folder)?;
    let sampler = Sampler {
        example: workspace.target("release/examples/layer_speed"),
        samples: folder.join("perf.data"),
    };
    let mut profiles = vec![];
    for case in &CASES {
        let profile = sampler.profile(case)?;
        let shares = heads().zip(&profile.shares);
        let shares: Vec<String> =
            shares.map(|(head, share)| format!("{head} {:.0} %", share * 100.0)).collect();
        println!("{:<42} {:>6.2} s  {}", profile.name, profile.seconds, shares.join(", "));
        profiles.push(profile);
    }
    record::write(workspace, RECORD, profiles)
}

/// The line that `layer_speed` prints.
#[derive(Deserialize)]
struct Speed {
    seconds: f64,
    processor_seconds: f64,
}

struct Sampler {
    example: PathBuf,
    samples: PathBuf,
}

impl Sampler {
    fn profile(&self, case: &Case) -> Result<Profile> {
        let (_, once) = self.sample(case, 1)?;
        let (speed, often) = self.sample(case, 1 + ROUNDS)?;
        let counts: Vec<f64> =
            often.iter().zip(&once).map(|(often, once)| (often - once).max(0.0)).collect();
        let all: f64 = counts.iter().sum();
        ensure!(all > 0.0, "perf took no samples of {}", case.name);
        // What the processors did not do at all is in no sample.
        let processors = std::thread::available_parallelism()?.get() as f64;
        let busy = (speed.processor_seconds / (speed.seconds * processors)).min(1.0);
        let waiting = KINDS.len();
        let mut shares: Vec<f64> = counts.iter().map(|count| count / all * busy).collect();
        shares[waiting] += 1.0 - busy;
        Ok(Profile { name: case.name.to_owned(), seconds: speed.seconds, shares })
    }

    /// Returns what one run says of itself, and how many samples fell on each kind of work.
    fn sample(&self, case: &Case, rounds: usize) -> Result<(Speed, Vec<f64>)> {
        let mut record = Command::new("perf");
        record.args(["record", "--quiet", "--freq", "499", "--output"]).arg(&self.samples);
        record.arg("--").arg(&self.example).args([case.size, case.size, case.known, "fp8"]);
        let printed = command::output(record.args([case.method, case.keys, &rounds.to_string()]))?;
        let line = printed.lines().find(|line| line.starts_with('{')).context("no answer")?;
        let speed = serde_json::from_str(line).with_context(|| format!("read {line}"))?;
        let mut script = Command::new("perf");
        script.args(["script", "--fields", "ip,sym", "--input"]).arg(&self.samples);
        let symbols = command::output(&mut script)?;
        let mut counts = vec![0.0; heads().count()];
        for symbol in symbols.lines().filter_map(|line| line.trim().split_once(' ')) {
            counts[kind_of(symbol.1)] += 1.0;
        }
        Ok((speed, counts))
    }
}

/// Returns the place among [`heads`] of what a function does.
fn kind_of(symbol: &str) -> usize {
    let holds = |parts: &[&str]| parts.iter().any(|part| symbol.contains(part));
    let kind = KINDS.iter().position(|(_, parts)| holds(parts));
    kind.unwrap_or(KINDS.len() + usize::from(!holds(&WAITING)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_by_their_names() {
        let heads: Vec<&str> = heads().collect();
        for (symbol, head) in [
            ("nano_gemm_f32::x86::f32::avx512::matmul_2_8_4", "products"),
            ("faer::linalg::cholesky::ldlt::factor::cholesky_recursion", "factorisations"),
            ("<roundwise_rounding::kernel::Column as pulp::NullaryFnOnce>::call", "cells"),
            ("__memmove_avx512_unaligned_erms", "copies"),
            ("clear_page_erms", "allocation"),
            ("crossbeam_deque::deque::Stealer<T>::steal", "waiting"),
            ("main", "other"),
        ] {
            assert_eq!(heads[kind_of(symbol)], head, "{symbol}");
        }
    }
}
