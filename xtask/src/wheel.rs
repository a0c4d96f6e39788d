//! The wheel: the program and the Python module, built, installed into an empty environment and tried
//! there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::python::{COMFYUI, Python};
use crate::workspace::Workspace;

/// What builds the wheel.
const BUILDERS: &[&str] = &["maturin==1.16.0"];

/// What its tests need; the wheel itself needs nothing.
const TESTERS: &[&str] = &["mypy==2.4.1", "numpy", "pytest"];

/// Names the source tree of a ComfyUI, in which the nodes are used.
const COMFY_ROOT: &str = "COMFY_ROOT";

/// How the wheel is built.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build it as it is published, by the profile `dist`.
    #[arg(long)]
    release: bool,
    /// Python with torch for the tests of its tensors; nothing is installed into it [default: a venv in
    /// target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

impl Options {
    /// Takes what the tests have built.
    pub(crate) fn for_ci(python: Option<PathBuf>) -> Self {
        Self { release: false, python }
    }
}

/// Builds the wheel and tries it: alone, with numpy, and with torch.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let wheel = build(workspace, options.release)?;
    let python = Python::fresh(&workspace.target("wheel-venv"))?;
    python.install(&["--no-deps", "--no-index"], &[&wheel.to_string_lossy()])?;
    alone(&python)?;
    python.install(&[], TESTERS)?;
    let tests = workspace.path("crates/python/tests");
    command::run(python.command(&["-m", "pytest", "--ignore-glob=*torch*"]).current_dir(&tests))?;
    // The same module under an interpreter that has torch, which is too large to install for this alone.
    let torch = Python::with(workspace, options.python.as_deref(), &[])?;
    if torch.imports("torch, pytest") {
        let mut pytest =
            torch.command(&["-m", "pytest", "-p", "no:cacheprovider", "test_torch.py"]);
        pytest.env("PYTHONPATH", python.packages()?).current_dir(&tests);
        command::run(&mut pytest)?;
    } else {
        println!("not checked: tensors of torch, which is not installed");
    }
    if std::env::var_os(COMFY_ROOT).is_some() {
        let mut nodes = Python::with(workspace, options.python.as_deref(), COMFYUI)?.command(&[]);
        nodes.arg(workspace.path("xtask/clients/comfy_nodes.py"));
        nodes.env("PYTHONPATH", python.packages()?).env("OMP_NUM_THREADS", "1");
        command::run(&mut nodes)?;
    }
    println!("{}", wheel.display());
    Ok(())
}

/// Checks the wheel by itself: the program answers, and the module imports without any other package.
fn alone(python: &Python) -> Result<()> {
    let mut program = std::process::Command::new(python.script("roundwise"));
    let version = command::output(program.arg("--version"))?;
    ensure!(version.starts_with("roundwise "), "the program says {version:?}");
    let modules = "import roundwise, sys; print(*{'numpy', 'torch'} & set(sys.modules))";
    let imported = command::output(&mut python.command(&["-c", modules]))?;
    ensure!(imported.trim().is_empty(), "the module imports {imported}");
    Ok(())
}

/// Builds the wheel and returns its path.
fn build(workspace: &Workspace, is_release: bool) -> Result<PathBuf> {
    let program = match is_release {
        true => workspace.release_binary()?,
        false => workspace.test_binary()?,
    };
    // pip puts what lies here on the PATH.
    let scripts = workspace.path("crates/python/wheel.data/scripts");
    std::fs::create_dir_all(&scripts)?;
    let name = program.file_name().context("a program has a name")?;
    std::fs::copy(&program, scripts.join(name)).context("lay the program into the wheel")?;
    let wheels = workspace.target("wheels");
    if wheels.exists() {
        std::fs::remove_dir_all(&wheels)?;
    }
    let builder = Python::environment(&workspace.target("wheel-builder"))?;
    builder.install(&[], BUILDERS)?;
    let mut maturin = builder.command(&["-m", "maturin", "build", "--quiet", "--out"]);
    maturin.arg(&wheels).current_dir(workspace.path("crates/python"));
    if is_release {
        maturin.args(["--profile", "dist"]);
    } else {
        // Asked for this one library, Cargo would build most of what it depends on once more, with other
        // features than the tests have.
        maturin.args(["--profile", "dev", "--compatibility", "linux"]);
        maturin.env("CARGO", std::env::current_exe()?);
    }
    command::run(&mut maturin)?;
    only_file(&wheels)
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    ensure!(files.len() == 1, "{}: {} files", folder.display(), files.len());
    Ok(files.remove(0).path())
}

/// Answers maturin in place of Cargo: builds the libraries of the whole workspace, as its tests do, and
/// asks for no interpreter, as they do not.
///
/// - `arguments`: of `cargo rustc`
pub(crate) fn stand_in_for_cargo(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut build = workspace.cargo(&["build", "--workspace", "--lib", "--tests"]);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--manifest-path" => _ = rest.next(),
            "--lib" => {}
            other => _ = build.arg(other),
        }
    }
    // Cargo builds a crate again where a variable that its build script reads has changed.
    for variable in ["CARGO", "PYO3_CONFIG_FILE", "PYO3_ENVIRONMENT_SIGNATURE", "PYO3_PYTHON"] {
        build.env_remove(variable);
    }
    command::run(&mut build)
}
