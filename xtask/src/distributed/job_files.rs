use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The job files of `docs/distributed.md`, which is the one place where they stand.
pub(super) struct JobFiles {
    text: String,
}

impl JobFiles {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Self { text })
    }

    /// Returns the script for `sbatch`.
    pub(super) fn slurm(&self) -> Result<&str> {
        self.block("## Slurm", "sh")
    }

    /// Returns the program for a Ray cluster.
    pub(super) fn ray(&self) -> Result<&str> {
        self.block("## Ray", "python")
    }

    /// Returns the number of completions of the Kubernetes job.
    pub(super) fn kubernetes_completions(&self) -> Result<usize> {
        let number = between(self.block("## Kubernetes", "yaml")?, "completions: ", "\n");
        number.and_then(|text| text.parse().ok()).context("the Kubernetes job has no completions")
    }

    /// Returns the arguments of the container of the Kubernetes job.
    pub(super) fn kubernetes_arguments(&self) -> Result<Vec<String>> {
        let list = between(self.block("## Kubernetes", "yaml")?, "args: [", "]");
        let list = list.context("the Kubernetes job has no arguments")?;
        Ok(serde_json::from_str(&format!("[{list}]"))?)
    }

    /// Returns the command that puts the parts together.
    pub(super) fn merge(&self) -> Result<&str> {
        let block = self.block("# One model", "sh")?;
        let line = block.lines().find(|line| line.starts_with("roundwise merge"));
        line.context("docs/distributed.md shows no merge")
    }

    /// Returns the first block of code in a language after a heading.
    fn block(&self, heading: &str, language: &str) -> Result<&str> {
        let section = self.text.split_once(heading).map(|(_, section)| section);
        section
            .and_then(|section| between(section, &format!("```{language}\n"), "```"))
            .with_context(|| format!("docs/distributed.md: no {language} under `{heading}`"))
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}
