//! The project's own tasks. `cargo xtask --help` lists them.

mod archive;
mod arrows;
mod bench;
mod browser;
mod ci;
mod clients;
mod comfy;
mod command;
mod distributed;
mod figure;
mod fuzz;
mod goal;
mod golden;
mod gpu;
mod machine;
mod measured_run;
mod packages;
#[cfg(test)]
mod places;
mod python;
mod random_folder;
mod random_model;
mod record;
mod report;
mod servers;
mod systems;
mod torture;
mod wheel;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything a change must pass: format, lints, docs, tests, client checks.
    Ci(ci::Options),
    /// Convert real models with every scheme and open the files with the programs that use them.
    Clients(clients::Options),
    /// Convert small language models for servers and open them with transformers.
    Servers(servers::Options),
    /// Convert small models of all of ComfyUI's classes, and have a real ComfyUI open and run them.
    Comfy(comfy::Options),
    /// Measure speed and memory; results go to docs/results/*.json.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Use the studio's page in a browser, as its users do.
    Browser(browser::Options),
    /// Kill, break and repeat conversions, and count what they survive.
    Torture(torture::Options),
    /// Make up files, and read them with everything that reads files of strangers.
    Fuzz(fuzz::Options),
    /// Convert a model in parts by the job files of the documentation, with a worker killed.
    Distributed(distributed::Options),
    /// Compare the outputs and reports of every command with recorded hashes.
    Golden(golden::Options),
    /// Run the device tests on a GPU and measure learned rounding there, within ten minutes.
    Gpu(gpu::Options),
    /// Put a program that was built into the archive that is released, with its manual and completions.
    Archive(archive::Options),
    /// Build the wheel, install it into an empty environment and run the module's tests there.
    Wheel(wheel::Options),
    /// Write docs/results.md from docs/results/*.json.
    Report,
    /// What `wheel` has maturin call in place of Cargo.
    #[command(hide = true)]
    Rustc {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> Result<()> {
    let workspace = Workspace::here();
    match Arguments::parse().task {
        Task::Ci(options) => ci::run(&workspace, &options),
        Task::Clients(options) => clients::run(&workspace, &options),
        Task::Servers(options) => servers::run(&workspace, &options),
        Task::Comfy(options) => comfy::run(&workspace, &options),
        Task::Bench(bench) => bench::run(&workspace, &bench),
        Task::Browser(options) => browser::run(&workspace, &options),
        Task::Torture(options) => torture::run(&workspace, &options),
        Task::Fuzz(options) => fuzz::run(&workspace, &options),
        Task::Distributed(options) => distributed::run(&workspace, &options),
        Task::Golden(options) => golden::run(&workspace, &options),
        Task::Gpu(options) => gpu::run(&workspace, &options),
        Task::Archive(options) => archive::run(&workspace, &options),
        Task::Wheel(options) => wheel::run(&workspace, &options),
        Task::Report => report::run(&workspace),
        Task::Rustc { arguments } => wheel::stand_in_for_cargo(&workspace, &arguments),
    }
}
