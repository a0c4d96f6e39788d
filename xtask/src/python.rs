use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::workspace::Workspace;

/// Names an interpreter to use instead of the task's own environment.
const VARIABLE: &str = "ROUNDWISE_PYTHON";

// Versions that several tasks share.
const SAFETENSORS: &str = "safetensors==0.8.0";
const TRANSFORMERS: &str = "transformers==5.23.0";
const COMFY_KITCHEN: &str = "comfy-kitchen==0.2.40";
const GGUF_READER: &str = "gguf==0.19.0";
const TOKENIZERS: &str = "tokenizers==0.23.3";

/// Enough to read files and to compute what they should hold.
pub(crate) const READERS: &[&str] = &["numpy", SAFETENSORS];

/// The library that ComfyUI computes with. It imports `packaging` without asking for it.
pub(crate) const COMFY: &[&str] = &["numpy", SAFETENSORS, "torch", COMFY_KITCHEN, "packaging"];

/// What ComfyUI's loaders import, and programs that give the same models other names.
pub(crate) const COMFYUI: &[&str] = &[
    "numpy",
    SAFETENSORS,
    "torch",
    "torchvision",
    "torchsde",
    TRANSFORMERS,
    "tokenizers",
    "sentencepiece",
    COMFY_KITCHEN,
    "comfy-aimdo==0.4.13",
    "packaging",
    "einops",
    "aiohttp",
    "yarl",
    "pyyaml",
    "Pillow",
    "scipy",
    "tqdm",
    "psutil",
    "filelock",
    "kornia",
    "spandrel",
    "pydantic",
    "pydantic-settings",
    "requests",
    "simpleeval",
    "blake3",
    GGUF_READER,
    "diffusers==0.42.1",
];

/// Enough to decode blocks of GGUF.
pub(crate) const GGUF: &[&str] = &["numpy", GGUF_READER];

/// Enough to read and write the files of servers.
pub(crate) const SERVERS: &[&str] =
    &["numpy", SAFETENSORS, "torch", "accelerate", "compressed-tensors==0.20.0", TRANSFORMERS];

/// The converter to compare with. It names one of its dependencies only; INT8 per row asks for SciPy.
pub(crate) const PEER: &[&str] = &[
    "numpy",
    SAFETENSORS,
    "torch",
    COMFY_KITCHEN,
    "packaging",
    "tqdm",
    "scipy",
    "convert-to-quant==1.3.4",
];

/// Enough to run sentence encoders on text.
pub(crate) const SENTENCES: &[&str] = &["numpy", SAFETENSORS, "torch", TOKENIZERS];

/// Enough to run sentence encoders and language models on text.
pub(crate) const LANGUAGE_MODELS: &[&str] =
    &["numpy", SAFETENSORS, "torch", TOKENIZERS, TRANSFORMERS, GGUF_READER, "accelerate"];

/// The converter to compare files for servers with. It asks for other versions of what the others share, so that it
/// has an environment of its own.
pub(crate) const LLM_COMPRESSOR: &[&str] = &["llmcompressor==0.14.0.1"];

/// Enough to train a small diffusion transformer on scikit-learn's pictures.
pub(crate) const DIFFUSION: &[&str] = &["numpy", SAFETENSORS, "torch", TOKENIZERS, "scikit-learn"];

/// A Python interpreter that has the packages a task needs.
pub(crate) struct Python {
    program: PathBuf,
}

impl Python {
    /// Returns the chosen interpreter as it is, or the environment in `target/` with `packages`
    /// installed.
    pub(crate) fn with(
        workspace: &Workspace,
        chosen: Option<&Path>,
        packages: &[&str],
    ) -> Result<Self> {
        let variable = std::env::var_os(VARIABLE).map(PathBuf::from);
        if let Some(program) = chosen.map(Path::to_owned).or(variable) {
            return Ok(Self { program });
        }
        let python = Self::environment(&workspace.target("clients-venv"))?;
        python.install(&[], packages)?;
        Ok(python)
    }

    /// Returns an environment without any package, whatever was there before.
    pub(crate) fn fresh(folder: &Path) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        }
        Self::environment(folder)
    }

    /// Installs packages.
    ///
    /// - `flags`: of pip
    pub(crate) fn install(&self, flags: &[&str], packages: &[&str]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut pip = self.command(&["-m", "pip", "install", "--quiet"]);
        command::run(pip.arg("--disable-pip-version-check").args(flags).args(packages))
            .context("install Python packages")
    }

    /// Returns the folder that its packages lie in.
    pub(crate) fn packages(&self) -> Result<PathBuf> {
        let folder = "import sysconfig; print(sysconfig.get_path('purelib'))";
        Ok(command::output(&mut self.command(&["-c", folder]))?.trim().into())
    }

    /// Returns an environment in this folder, the one that is there if any.
    pub(crate) fn environment(folder: &Path) -> Result<Self> {
        let program = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
        if !program.exists() {
            let mut venv = Command::new(if cfg!(windows) { "python" } else { "python3" });
            command::run(venv.args(["-m", "venv"]).arg(folder))
                .context("Python 3.10 or newer with its `venv` module is needed")?;
        }
        Ok(Self { program })
    }

    /// Returns the interpreter with these arguments. It leaves no compiled modules in the
    /// repository.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PYTHONDONTWRITEBYTECODE", "1").args(arguments);
        command
    }

    /// Returns the interpreter.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Returns whether these modules import, comma-separated.
    pub(crate) fn imports(&self, modules: &str) -> bool {
        command::succeeds(&mut self.command(&["-c", &format!("import {modules}")]))
    }

    /// Returns a program that a package installed beside the interpreter.
    pub(crate) fn script(&self, name: &str) -> PathBuf {
        self.program.with_file_name(name).with_extension(std::env::consts::EXE_EXTENSION)
    }
}
