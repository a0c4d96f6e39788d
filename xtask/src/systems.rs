//! The code as other systems compile it.

use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::workspace::Workspace;

const WINDOWS: &str = "x86_64-pc-windows-gnu";

/// Lints the workspace as Windows compiles it, tests included, where the target is installed.
///
/// Nothing is linked, so that no compiler of C for Windows is needed. The Python module needs an
/// interpreter's library there, and the project's tasks drive Linux programs.
pub(crate) fn lint_for_windows(workspace: &Workspace) -> Result<()> {
    if !is_installed(WINDOWS) {
        println!(
            "not checked: `rustup target add {WINDOWS}` brings what lints the code of Windows"
        );
        return Ok(());
    }
    let mut clippy = workspace.cargo(&["clippy", "--workspace", "--all-targets"]);
    clippy.args(["--exclude", "roundwise-python", "--exclude", "xtask", "--target", WINDOWS]);
    command::run(clippy.args(["--", "-D", "warnings"]))
}

/// Returns whether the standard library of a target is there, whoever installed it.
fn is_installed(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]);
    command::output(&mut rustc).is_ok_and(|folder| std::path::Path::new(folder.trim()).is_dir())
}
