use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command;

/// This repository and its build folder.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Returns the workspace that this task was built in.
    pub(crate) fn here() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a subfolder");
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        Self { root: root.to_owned(), target: root.join(target) }
    }

    /// Returns a path inside the repository.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// Returns a path inside the build folder.
    pub(crate) fn target(&self, inside: &str) -> PathBuf {
        self.target.join(inside)
    }

    /// Returns `cargo` with these arguments, to be run at the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Builds the tool as it is released and gives its path. The whole workspace is selected so that
    /// dependencies have the features that they have for its examples, and are not built twice.
    pub(crate) fn release_binary(&self) -> Result<PathBuf> {
        self.binary("dist", &["build", "--profile", "dist", "--workspace", "--bin", "roundwise"])
    }

    /// Builds the tool with all tests, which is done already where they ran, and gives its path.
    /// Building it alone would build most dependencies again: tests ask for features of their own.
    pub(crate) fn test_binary(&self) -> Result<PathBuf> {
        self.binary("debug", &["test", "--workspace", "--no-run", "--quiet"])
    }

    fn binary(&self, folder: &str, build: &[&str]) -> Result<PathBuf> {
        command::run(&mut self.cargo(build))?;
        Ok(self.target(folder).join("roundwise").with_extension(std::env::consts::EXE_EXTENSION))
    }

    /// Builds an example as programs are released and gives its path. The whole workspace decides the features of
    /// what it depends on, so that all examples share one build of it.
    pub(crate) fn release_example(&self, name: &str) -> Result<PathBuf> {
        let build = ["build", "--quiet", "--profile", "dist", "--workspace", "--example"];
        command::run(self.cargo(&build).arg(name))?;
        let file = self.target("dist/examples").join(name);
        Ok(file.with_extension(std::env::consts::EXE_EXTENSION))
    }

    /// Returns the commit that is checked out, with `+changes` where files differ from it.
    pub(crate) fn commit(&self) -> Result<String> {
        let git = |arguments: &[&str]| {
            command::output(Command::new("git").args(arguments).current_dir(&self.root))
        };
        let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
        // Results themselves are no change of what was measured.
        let changes =
            git(&["status", "--porcelain", "--", ".", ":!docs/results.md", ":!docs/results"])?;
        let suffix = if changes.trim().is_empty() { "" } else { "+changes" };
        Ok(format!("{}{suffix}", commit.trim()))
    }
}
