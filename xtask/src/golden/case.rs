//! Commands of the tool, and the line of the record that they come to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::contents::Contents;
use super::models::Models;
use super::table::Line;
use crate::command;

/// Commands of the tool, one after the other in a folder of their own.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Without the tool's name; ` > FILE` keeps what is printed.
    pub(crate) commands: Vec<String>,
    /// Whether products, whose last bits depend on the CPU, have a say in what is written.
    pub(crate) is_learned: bool,
}

/// Name of the case that tells one CPU's products from another's.
const PROBE: &str = "probe";

/// Commands that take `--threads` and `--json`.
const WORKING: [&str; 7] = ["convert", "plan", "verify", "dequantize", "migrate", "repair", "edit"];

/// Commands that take `--json` alone.
const LOOKING: [&str; 4] = ["inspect", "presets", "schemes", "stats show"];

impl Case {
    /// Returns a case with the same bytes on every CPU.
    pub(crate) fn exact(name: impl Into<String>, commands: &[&str]) -> Self {
        let commands = commands.iter().map(|command| (*command).to_owned()).collect();
        Self { name: name.into(), commands, is_learned: false }
    }

    /// Returns a case whose last bits depend on the CPU.
    pub(crate) fn learned(name: impl Into<String>, commands: &[&str]) -> Self {
        Self { is_learned: true, ..Self::exact(name, commands) }
    }

    /// Returns the case that tells one CPU's products from another's.
    pub(crate) fn probe(commands: &[&str]) -> Self {
        Self::learned(PROBE, commands)
    }

    pub(crate) fn is_probe(&self) -> bool {
        self.name == PROBE
    }

    /// Returns the folder that it leaves its files in.
    pub(crate) fn folder(&self, all: &Path) -> PathBuf {
        all.join(self.name.replace('/', "-"))
    }

    /// Returns the commands as they are run, without the tool's name and the place of the output.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.commands.iter().map(|command| complete(command))
    }

    pub(crate) fn run(&self, tool: &Tool, models: &Models, all: &Path) -> Result<Line> {
        let folder = self.folder(all);
        fs::create_dir_all(&folder)?;
        models.write(&folder, &self.commands)?;
        let mut codes = vec![];
        let mut printed = vec![];
        for line in self.lines() {
            let (code, stdout) = tool.run(&line, &folder)?;
            codes.push(code.to_string());
            match line.split_once(" > ") {
                Some((_, file)) => fs::write(folder.join(file), stdout)?,
                None if stdout.is_empty() => {}
                // Texts for people may change their wording; their files end in `.txt`, which are not hashed.
                None if line.contains("--json") => printed.push(stdout),
                None => {}
            }
        }
        let contents = Contents::read(&folder, models)?;
        Ok(Line {
            name: self.name.clone(),
            codes: codes.join(","),
            output: contents.output_hash(&tool.version),
            report: contents.report_hash(&printed, &tool.version)?,
        })
    }
}

/// Adds `--json` where what is printed is not kept, and two threads whatever the machine has.
fn complete(command: &str) -> String {
    let is_one_of = |names: &[&str]| names.iter().any(|name| command.starts_with(name));
    let mut line = command.to_owned();
    let mut add = |flags: &str| {
        let at = line.find(" > ").unwrap_or(line.len());
        line.insert_str(at, flags);
    };
    if is_one_of(&WORKING) && !command.contains("--threads") && !command.contains("--help") {
        add(" --threads 2");
    }
    let is_silent = [" > ", " -q", "--help"].iter().any(|part| command.contains(part));
    if !is_silent && (is_one_of(&WORKING) || is_one_of(&LOOKING)) {
        add(" --json");
    }
    line
}

/// The program whose outputs are recorded.
pub(crate) struct Tool {
    path: PathBuf,
    version: String,
}

impl Tool {
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        let told = command::output(Command::new(&path).arg("--version"))?;
        let version = told.split_whitespace().last().context("the tool tells no version")?;
        Ok(Self { version: version.to_owned(), path })
    }

    /// Runs a line; returns its exit code and output.
    fn run(&self, line: &str, folder: &Path) -> Result<(i32, Vec<u8>)> {
        let words = line.split(" > ").next().unwrap_or(line).split_whitespace();
        let mut command = Command::new(&self.path);
        command.args(words).current_dir(folder).stdin(Stdio::null());
        let output = command.output().with_context(|| command::line(&command))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().filter(|_| !complaint.contains("panicked"));
        ensure!(code.is_some(), "{}: {}\n{complaint}", output.status, command::line(&command));
        Ok((code.unwrap_or_default(), output.stdout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_completed_where_they_take_it() {
        for (command, line) in [
            ("convert a --scheme fp8", "convert a --scheme fp8 --threads 2 --json"),
            ("convert a -q", "convert a -q --threads 2"),
            ("plan a > plan.txt", "plan a --threads 2 > plan.txt"),
            ("inspect a", "inspect a --json"),
            ("stats merge a b -o c", "stats merge a b -o c"),
            ("plan --help", "plan --help"),
        ] {
            assert_eq!(complete(command), line);
        }
    }
}
