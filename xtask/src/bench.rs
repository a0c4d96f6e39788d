mod budget;
mod convert;
mod devices;
mod diffusion;
mod encode;
mod layouts;
mod outputs;
mod quality;
mod recognition;
mod rounding;
mod servers;
mod studio;

pub(crate) use budget::{Budgets, FileLoss, LayerLosses};
pub(crate) use convert::ConvertBench;
pub(crate) use devices::{Devices, RECORD as DEVICES};
pub(crate) use diffusion::{Diffusion, DiffusionRow};
pub(crate) use encode::EncodeBench;
pub(crate) use outputs::{Judged, MODELS, Outputs, records_of};
pub(crate) use quality::{Language, LanguageRow, Quality, Reached, Row};
pub(crate) use rounding::{Figure, Growth, Measurement, Profile, growth, profile};
pub(crate) use servers::Comparison;

use anyhow::Result;

use crate::workspace::Workspace;

/// A measurement.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Files that keep a budget: what they are predicted to lose, and what they lose.
    Budget(budget::Options),
    /// A 1 GiB and a 2 GiB model: time beside `cat` and convert-to-quant, peak memory.
    Convert(convert::Options),
    /// Every operation and method on each GPU that is here, beside the CPU's result.
    Devices(devices::Options),
    /// Statistics of a small diffusion transformer's inputs: what they do to its steps and pictures.
    Diffusion(diffusion::Options),
    /// Speed of the rounding kernels beside torch's casts, one thread.
    Encode(encode::Options),
    /// Speed of conversion to packed and rotated layouts, and of decoding.
    Layouts(layouts::Options),
    /// Error of the outputs of real sentence encoders after each method.
    Outputs(outputs::Options),
    /// Statistics of real inputs: what they do to the outputs of real sentence encoders and of a
    /// language model.
    Quality(quality::Options),
    /// Time before a weight is read: to recognise a model of 5,000 tensors, and to choose schemes for 1,000
    /// layers.
    Recognition(recognition::Options),
    /// Learned rounding: error of stored codes, time and memory, beside convert-to-quant and torch.
    Rounding(rounding::Options),
    /// Files for servers beside llm-compressor: time, memory and size of a folder, KL of 4 bits with statistics.
    Servers(servers::Options),
    /// The studio: size, memory, time of plans, of the page in a browser, and what events cost.
    Studio(studio::Options),
}

/// Measures, prints, and stores the result for the report.
pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> Result<()> {
    match bench {
        Bench::Budget(options) => budget::run(workspace, options),
        Bench::Convert(options) => convert::run(workspace, options),
        Bench::Devices(options) => devices::run(workspace, options),
        Bench::Diffusion(options) => diffusion::run(workspace, options),
        Bench::Encode(options) => encode::run(workspace, options),
        Bench::Layouts(options) => layouts::run(workspace, options),
        Bench::Outputs(options) => outputs::run(workspace, options),
        Bench::Quality(options) => quality::run(workspace, options),
        Bench::Recognition(options) => recognition::run(workspace, options),
        Bench::Rounding(options) => rounding::run(workspace, options),
        Bench::Servers(options) => servers::run(workspace, options),
        Bench::Studio(options) => studio::run(workspace, options),
    }
}
