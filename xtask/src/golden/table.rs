//! The record: a line for each case.

use std::fmt;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result, bail};

use super::case::Case;

/// A case's name and what came of it, as text without spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Exit codes of the commands, joined by commas.
    pub(crate) codes: String,
    /// Hash of the files that were written, [`NOTHING`] where there are none.
    pub(crate) output: String,
    /// Hash of the reports, [`NOTHING`] where there are none.
    pub(crate) report: String,
}

/// Stands in place of a hash where there is nothing to hash.
pub(crate) const NOTHING: &str = "-";

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, codes, output, report } = self;
        write!(f, "{name:<36} {codes:<9} {output:<16} {report}")
    }
}

/// The lines that are recorded, and the CPU that made them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) cpu: String,
    pub(crate) lines: Vec<Line>,
}

const PREFACE: &str = "\
# Outputs of roundwise for its fixtures: case, exit codes, hash of the files, hash of the reports.
# `cargo xtask golden` compares. Reports may change with their wording (`--accept reports`), outputs
# only where one was wrong (`--accept`).
";

const CPU: &str = "# CPU: ";

impl Table {
    /// Returns the stored table; an empty one if there is none.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let mut table = Self::default();
        for line in text.lines() {
            if let Some(cpu) = line.strip_prefix(CPU) {
                table.cpu = cpu.to_owned();
            } else if !line.starts_with('#') {
                let words: Vec<&str> = line.split_whitespace().collect();
                let [name, codes, output, report] = words[..] else {
                    bail!("`{line}`: expected a name, exit codes and two hashes");
                };
                let [name, codes, output, report] =
                    [name, codes, output, report].map(str::to_owned);
                table.lines.push(Line { name, codes, output, report });
            }
        }
        Ok(table)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.to_string()).with_context(|| path.display().to_string())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }

    /// Returns the names of lines that no case has.
    pub(crate) fn without_case(&self, cases: &[Case]) -> Vec<&str> {
        let names = self.lines.iter().map(|line| line.name.as_str());
        names.filter(|name| cases.iter().all(|case| case.name != *name)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PREFACE}{CPU}{}", self.cpu)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let line = |name: &str, output: &str| Line {
            name: name.to_owned(),
            codes: "0,3".to_owned(),
            output: output.to_owned(),
            report: NOTHING.to_owned(),
        };
        let lines = vec![line("a", "0123456789abcdef"), line("scheme/fp8", NOTHING)];
        let table = Table { cpu: "some CPU, avx2".to_owned(), lines };
        assert_eq!(Table::parse(&table.to_string()).unwrap(), table);
        assert!(Table::parse("a 0 -").is_err());
    }
}
