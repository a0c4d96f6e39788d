mod case;
pub(crate) mod growth;
mod memory;
mod products;
pub(crate) mod profile;
mod schedule;
mod trade_off;

use std::path::PathBuf;

use anyhow::Result;
pub(crate) use growth::Growth;
pub(crate) use profile::Profile;
use serde::{Deserialize, Serialize};

use crate::goal::Goal;
use crate::python::{PEER, Python};
use crate::record;
use crate::workspace::Workspace;

/// Which parts, beside which peer.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these parts, comma-separated; each is stored by itself [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MEASUREMENT")]
    only: Vec<Measurement>,
    /// Only sample where the time of each method goes (Linux, with `perf`).
    #[arg(long, conflicts_with = "only")]
    profile: bool,
    /// Only measure how time grows with the layer, and what threads do for it.
    #[arg(long, conflicts_with_all = ["only", "profile"])]
    growth: bool,
    /// Leave convert-to-quant and torch out.
    #[arg(long)]
    no_peer: bool,
    /// Our runs of whatever is timed; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Python with convert-to-quant [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// A part that can be measured alone.
#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
pub(crate) enum Measurement {
    /// Projected error of 1024 × 1024 matrices at given weight errors.
    Quality,
    /// The same where rows differ in size.
    Scaled,
    /// Projected error of 3072 × 12288 matrices with few singular vectors.
    Wide,
    /// One 3072 × 3072 matrix against the clock.
    Time,
    /// Products and the search for singular vectors.
    Products,
    /// Peak memory of rounding one matrix.
    Memory,
}

impl Measurement {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 6] =
        [Self::Quality, Self::Scaled, Self::Wide, Self::Time, Self::Products, Self::Memory];

    /// Returns the name of its stored measurement.
    pub(crate) fn record(self) -> &'static str {
        match self {
            Self::Quality => "rounding-quality",
            Self::Scaled => "rounding-scaled",
            Self::Wide => "rounding-wide",
            Self::Time => "rounding-time",
            Self::Products => "rounding-products",
            Self::Memory => "rounding-memory",
        }
    }

    /// Returns the head of its table in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Quality => "1024 × 1024, singular values i^−0.75, k = 204",
            Self::Scaled => {
                "1024 × 1024, singular values i^−0.7, rows times exp(0.3 · N(0, 1)), k = 204"
            }
            Self::Wide => "3072 × 12288, singular values i^−0.75, k = 64",
            Self::Time => "3072 × 3072, singular values i^−0.75, k = 614, `fp8`",
            Self::Products => "normally distributed matrices",
            Self::Memory => "a BF16 matrix, `normal`, `fp8`",
        }
    }
}

/// One figure that a goal is named after.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Name of its goal.
    pub(crate) name: String,
    pub(crate) reached: f64,
    /// The figure of convert-to-quant or torch, where there is one.
    pub(crate) peer: Option<f64>,
    /// A remark on this run.
    pub(crate) remark: String,
}

impl Figure {
    pub(super) fn of(goal: &Goal, reached: f64, peer: Option<f64>, remark: String) -> Self {
        Self { name: goal.name.to_owned(), reached, peer, remark }
    }
}

/// Shared by every part.
struct Bench<'a> {
    workspace: &'a Workspace,
    /// Holds the matrices and what the peer made of them.
    folder: PathBuf,
    peer: Option<Python>,
    runs: usize,
}

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = workspace.target("bench/rounding");
    if options.profile {
        return profile::measure(workspace, &folder);
    }
    if options.growth {
        return growth::measure(workspace);
    }
    let peer = match options.no_peer {
        true => None,
        false => Some(Python::with(workspace, options.python.as_deref(), PEER)?),
    };
    let bench = Bench { workspace, folder, peer, runs: options.runs };
    let is_chosen = |part: &Measurement| options.only.is_empty() || options.only.contains(part);
    for part in Measurement::ALL.into_iter().filter(is_chosen) {
        println!("── {}", part.title());
        let figures = match part {
            Measurement::Quality | Measurement::Scaled | Measurement::Wide | Measurement::Time => {
                trade_off::measure(&bench, part)?
            }
            Measurement::Products => products::measure(&bench)?,
            Measurement::Memory => memory::measure(&bench)?,
        };
        record::write(workspace, part.record(), figures)?;
    }
    Ok(())
}

/// Prints a figure beside its goal as soon as it is known.
fn show(goal: &Goal, figure: &Figure) {
    let [name, must, aim, reached, verdict] = goal.row(figure.reached);
    let peer = figure.peer.map_or("–".to_owned(), crate::goal::number);
    println!("{name:<68} {reached:>8}  must {must:<7} aim {aim:<7} {verdict:<14} peer {peer}");
    println!("    {}", figure.remark);
}
