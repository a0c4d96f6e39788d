use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;
use crate::{
    archive, arrows, browser, clients, command, distributed, golden, gpu, packages, servers,
    systems, torture, wheel,
};

/// How much to check.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also run the exhaustive tests, and the client checks on whole models.
    #[arg(long)]
    long: bool,
    /// Leave the tests out that have just run.
    #[arg(long)]
    tested: bool,
    /// Python for the client checks; nothing is installed into it [default: a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<std::path::PathBuf>,
}

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);

/// Runs every step in order and stops at the first that fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut times = Vec::new();
    for (name, step) in steps(workspace, options) {
        println!("── {name}");
        let start = Instant::now();
        step().with_context(|| format!("step `{name}` failed"))?;
        times.push((name, start.elapsed().as_secs_f64()));
    }
    println!();
    for (name, seconds) in times {
        println!("{name:<16} {seconds:>7.1} s");
    }
    println!("{:<16} {:>7.1} s", "all passed", start.elapsed().as_secs_f64());
    Ok(())
}

fn steps<'a>(workspace: &'a Workspace, options: &'a Options) -> Vec<Step<'a>> {
    let cargo = |arguments: &'static [&'static str]| {
        Box::new(move || command::run(&mut workspace.cargo(arguments)))
            as Box<dyn Fn() -> Result<()>>
    };
    let check_clients = |short| {
        let options = clients::Options { short, python: options.python.clone() };
        Box::new(move || clients::run(workspace, &options)) as Box<dyn Fn() -> Result<()>>
    };
    let mut steps: Vec<Step> = vec![
        ("format", cargo(&["fmt", "--all", "--check"])),
        ("arrows", Box::new(|| arrows::run(workspace))),
        ("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        ("Windows", Box::new(|| systems::lint_for_windows(workspace))),
        ("dependencies", Box::new(|| dependencies(workspace))),
        ("no HTTP", Box::new(|| refuse_http_without_studio(workspace))),
        ("packages", Box::new(|| packages::check(workspace))),
        ("docs", Box::new(|| docs(workspace))),
        ("doc tests", cargo(&["test", "--quiet", "--doc", "--workspace"])),
        ("GPUs", Box::new(|| gpu::check::run(workspace))),
    ];
    if !options.tested {
        steps.push(("tests", Box::new(|| tests(workspace))));
    }
    steps.push(("golden", Box::new(|| golden::run(workspace, &golden_options(workspace)?))));
    steps.push(("torture", Box::new(|| torture::run(workspace, &torture_options(workspace)?))));
    steps.push(("parts", Box::new(|| distributed::run(workspace, &parts_options(workspace)?))));
    steps.push(("browser", Box::new(|| browser::run(workspace, &page_options(workspace)?))));
    steps.push(("archive", Box::new(|| archive::run(workspace, &archive_options(workspace)?))));
    steps.push(("clients", check_clients(!options.long)));
    steps.push(("wheel", Box::new(|| wheel::run(workspace, &wheel_options(options)))));
    let python = options.python.clone();
    let servers = servers::Options { short: !options.long, python, binary: None, vllm: None };
    steps.push(("servers", Box::new(move || servers::run(workspace, &servers))));
    steps
}

fn golden_options(workspace: &Workspace) -> Result<golden::Options> {
    Ok(golden::Options::for_ci(workspace.test_binary()?))
}

fn torture_options(workspace: &Workspace) -> Result<torture::Options> {
    Ok(torture::Options::for_ci(workspace.test_binary()?))
}

fn page_options(workspace: &Workspace) -> Result<browser::Options> {
    Ok(browser::Options::for_ci(workspace.test_binary()?))
}

fn archive_options(workspace: &Workspace) -> Result<archive::Options> {
    Ok(archive::Options::for_ci(workspace.test_binary()?))
}

fn wheel_options(options: &Options) -> wheel::Options {
    wheel::Options::for_ci(options.python.clone())
}

fn parts_options(workspace: &Workspace) -> Result<distributed::Options> {
    Ok(distributed::Options::for_ci(workspace.test_binary()?))
}

/// A program that is built without the studio has nothing that listens or speaks HTTP.
fn refuse_http_without_studio(workspace: &Workspace) -> Result<()> {
    let tree = ["tree", "--package", "roundwise", "--no-default-features", "--edges", "normal"];
    let tree = command::output(workspace.cargo(&tree).args(["--prefix", "none"]))?;
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let found: Vec<&str> =
        names.filter(|name| ["axum", "hyper", "tokio", "http"].contains(name)).collect();
    ensure!(found.is_empty(), "without the feature `studio` there still is {}", found.join(", "));
    Ok(())
}

/// Checks licences, sources and bans. Building cargo-deny takes longer than everything else here,
/// so it is asked only where it is installed.
fn dependencies(workspace: &Workspace) -> Result<()> {
    if !command::succeeds(&mut workspace.cargo(&["deny", "--version"])) {
        println!("not checked: `cargo install cargo-deny` brings what checks them");
        return Ok(());
    }
    // Offline, and so without `advisories`, whose database would have to be fetched.
    let check = ["deny", "--offline", "check", "bans", "licenses", "sources"];
    command::run(&mut workspace.cargo(&check))
}

fn docs(workspace: &Workspace) -> Result<()> {
    let mut doc = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs all tests but those in documentation, which nextest does not run.
fn tests(workspace: &Workspace) -> Result<()> {
    if command::succeeds(&mut workspace.cargo(&["nextest", "--version"])) {
        command::run(&mut workspace.cargo(&["nextest", "run", "--workspace"]))
    } else {
        command::run(&mut workspace.cargo(&["test", "--workspace", "--all-targets"]))
    }
}
