//! The archive that is released for a system: program, manual, completions, licences.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::workspace::Workspace;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Files that every archive brings with it.
const TEXTS: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Shells with the names that they look for completions under.
const SHELLS: [(&str, &str); 5] = [
    ("bash", "roundwise.bash"),
    ("elvish", "roundwise.elv"),
    ("fish", "roundwise.fish"),
    ("powershell", "_roundwise.ps1"),
    ("zsh", "_roundwise"),
];

/// Which program for which system.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The program; it has to run here.
    #[arg(value_name = "PATH")]
    program: PathBuf,
    /// The system that it is for, such as x86_64-unknown-linux-musl.
    #[arg(long, value_name = "TARGET")]
    target: String,
}

impl Options {
    /// Makes an archive that nobody downloads.
    pub(crate) fn for_ci(program: PathBuf) -> Self {
        Self { program, target: "ci".to_owned() }
    }
}

/// Makes the archive, in target/archives, and tells its path.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let program = options.program.canonicalize().context("find the program")?;
    let archives = workspace.target("archives");
    let name = folder_name(&options.target);
    let folder = archives.join(&name);
    if folder.exists() {
        // What an earlier version had and this one has not would be released with it.
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(folder.join("completions"))?;
    std::fs::copy(&program, folder.join(program.file_name().context("a program has a name")?))?;
    for text in TEXTS {
        std::fs::copy(workspace.path(text), folder.join(text)).context(text)?;
    }
    for (shell, file) in SHELLS {
        let script = command::output(Command::new(&program).args(["completions", shell]))?;
        std::fs::write(folder.join("completions").join(file), script)?;
    }
    let manual = folder.join("man");
    command::run(Command::new(&program).arg("manual").arg(&manual))?;
    check_manual(&program, &manual)?;
    // The `tar` of Windows makes zip files where a name says so.
    let archive =
        format!("{name}{}", if options.target.contains("windows") { ".zip" } else { ".tgz" });
    let mut tar = Command::new("tar");
    tar.args(["-c", "-a", "-f", &archive, &name]).current_dir(&archives);
    command::run(&mut tar)?;
    println!("{}", archives.join(archive).display());
    Ok(())
}

/// Returns the name of the folder in an archive, which is the archive's without its ending.
fn folder_name(target: &str) -> String {
    format!("roundwise-{VERSION}-{target}")
}

/// Checks that there is a page for every command that the program lists.
fn check_manual(program: &Path, manual: &Path) -> Result<()> {
    let help = command::output(Command::new(program).arg("--help"))?;
    let (_, commands) = help.split_once("Commands:\n").context("`--help` lists commands")?;
    let lines = commands.lines().take_while(|line| !line.trim().is_empty());
    // Commands are indented by two; deeper lines go on with a description.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(names.len() > 10, "`--help` lists {names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let page = manual.join(format!("roundwise-{name}.1"));
        let text = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        ensure!(text.contains(".SH SYNOPSIS"), "{}: is no manual page", page.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binstall_finds_what_is_released() {
        let manifest = Workspace::here().path("crates/cli/Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let value = |key: &str| {
            let line = manifest.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            let text = line.trim_start_matches(" = ").trim_matches('"');
            text.replace("{ version }", VERSION).replace("{ target }", "T")
        };
        let name = folder_name("T");
        assert!(value("pkg-url").ends_with(&format!("/v{VERSION}/{name}{{ archive-suffix }}")));
        assert_eq!(value("bin-dir"), format!("{name}/{{ bin }}{{ binary-ext }}"));
    }
}
