//! How the time of learned rounding grows with the layer, and what more threads do for it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::command;
use crate::record;
use crate::workspace::Workspace;

/// Name of the stored measurement.
pub(crate) const RECORD: &str = "rounding-growth";

/// Layers of several sizes, with one thread and with all, and a model of more threads.
#[derive(Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(crate) layers: Vec<GrownLayer>,
    pub(crate) threads: Vec<ThreadRun>,
    pub(crate) schedules: Vec<Scheduled>,
}

/// One layer by the clock.
#[derive(Serialize, Deserialize)]
pub(crate) struct GrownLayer {
    pub(crate) method: String,
    pub(crate) shape: [usize; 2],
    pub(crate) seconds: f64,
    pub(crate) nanoseconds_per_weight: f64,
    /// Operations of products, which the method's formula gives, in 10⁹ in a second.
    pub(crate) gigaflops: f64,
}

/// One layer with one thread and with all of this machine.
#[derive(Serialize, Deserialize)]
pub(crate) struct ThreadRun {
    pub(crate) method: String,
    pub(crate) threads: usize,
    pub(crate) seconds_of_one: f64,
    pub(crate) seconds_of_all: f64,
}

/// A model of layers on more threads.
#[derive(Serialize, Deserialize)]
pub(crate) struct Scheduled {
    pub(crate) method: String,
    pub(crate) in_flight: usize,
    /// With layers in the order of the file, and with the largest first.
    pub(crate) idle_shares: [f64; 2],
}

impl ThreadRun {
    pub(crate) fn efficiency(&self) -> f64 {
        self.seconds_of_one / self.seconds_of_all / self.threads as f64
    }

    /// Returns the share of the work that only one thread can do, by Amdahl's law.
    pub(crate) fn alone(&self) -> f64 {
        let threads = self.threads as f64;
        let alone =
            (self.seconds_of_all / self.seconds_of_one - 1.0 / threads) / (1.0 - 1.0 / threads);
        alone.clamp(0.0, 1.0)
    }
}

/// Name, and what the example `layer_speed` takes.
const METHODS: [[&str; 4]; 2] = [
    ["`activations`, full H", "full", "activations", ""],
    ["`principal`, `fast`", "none", "principal", "effort = 'fast'\ntop_p = 0.2"],
];

const SHAPES: [[usize; 2]; 4] = [[1024, 1024], [2048, 2048], [3072, 3072], [12288, 3072]];

/// The shape that threads are compared on.
const SHAPE: [usize; 2] = [3072, 3072];

/// Runs of each; the fastest counts.
const RUNS: &str = "3";

/// Threads of the machine that is modelled.
pub(crate) const MODEL_THREADS: usize = 16;

/// Layers of the model, 200 in all: those of a block of a diffusion transformer, as often as there are blocks.
const BLOCK: [[usize; 2]; 5] =
    [[9216, 3072], [3072, 3072], [12288, 3072], [3072, 12288], [18432, 3072]];
const BLOCKS: usize = 40;

/// The line that `layer_speed` prints.
#[derive(Deserialize)]
struct Speed {
    seconds: f64,
    nanoseconds_per_weight: f64,
    product_operations: f64,
}

pub(super) fn measure(workspace: &Workspace) -> Result<()> {
    let example = workspace.release_example("layer_speed")?;
    let mut growth = Growth { layers: vec![], threads: vec![], schedules: vec![] };
    let threads = std::thread::available_parallelism()?.get();
    for method in &METHODS {
        let name = method[0];
        for shape in SHAPES {
            let Speed { seconds, nanoseconds_per_weight, product_operations } =
                speed(&example, method, shape, threads)?;
            let gigaflops = product_operations / seconds / 1e9;
            println!(
                "{name:<24} {:>5} × {:<5} {seconds:>7.2} s {nanoseconds_per_weight:>7.1} ns for a weight, \
                 {gigaflops:>5.0} GFLOP/s",
                shape[0], shape[1]
            );
            let method = name.to_owned();
            growth.layers.push(GrownLayer {
                method,
                shape,
                seconds,
                nanoseconds_per_weight,
                gigaflops,
            });
        }
        let run = ThreadRun {
            method: name.to_owned(),
            threads,
            seconds_of_one: speed(&example, method, SHAPE, 1)?.seconds,
            seconds_of_all: speed(&example, method, SHAPE, threads)?.seconds,
        };
        println!(
            "{name:<24} {threads} threads: {:.0} % efficient, {:.0} % of the work for one alone",
            run.efficiency() * 100.0,
            run.alone() * 100.0
        );
        growth.schedules.extend([2, 4].map(|in_flight| scheduled(&run, in_flight)));
        growth.threads.push(run);
    }
    record::write(workspace, RECORD, growth)
}

fn speed(
    example: &Path,
    [_, known, method, keys]: &[&str; 4],
    [rows, cols]: [usize; 2],
    threads: usize,
) -> Result<Speed> {
    let mut run = Command::new(example);
    run.env("RAYON_NUM_THREADS", threads.to_string());
    run.args([&rows.to_string(), &cols.to_string(), *known, "fp8", *method, *keys, RUNS]);
    let printed = command::output(&mut run)?;
    let line = printed.lines().find(|line| line.starts_with('{')).context("no answer")?;
    serde_json::from_str(line).with_context(|| format!("read {line}"))
}

fn scheduled(run: &ThreadRun, in_flight: usize) -> Scheduled {
    let block = BLOCK.map(|[rows, cols]| (rows * cols) as f64);
    let mut layers: Vec<f64> = (0..BLOCKS).flat_map(|_| block).collect();
    let schedule = Schedule { threads: MODEL_THREADS, in_flight, alone: run.alone() };
    let in_order = schedule.idle_share(&layers);
    layers.sort_by(|a, b| b.total_cmp(a));
    let idle_shares = [in_order, schedule.idle_share(&layers)];
    println!(
        "{:<24} a model of {} layers on {MODEL_THREADS} threads, {in_flight} in flight: {:.0} % idle, {:.0} % with the \
         largest first",
        run.method,
        layers.len(),
        idle_shares[0] * 100.0,
        idle_shares[1] * 100.0
    );
    Scheduled { method: run.method.clone(), in_flight, idle_shares }
}
