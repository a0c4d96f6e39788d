use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::is_part;
use super::job_files::JobFiles;
use crate::command;

/// Stands before the tool and kills it.
const VICTIM_SCRIPT: &str = include_str!("victim.sh");

/// Number of the part that is killed.
const VICTIM: usize = 2;

/// The processes that are killed with a worker.
#[derive(Clone, Copy)]
pub(super) enum Kills {
    /// The tool alone, as a system that runs out of memory does.
    Tool,
    /// The process that began it as well.
    Parent,
}

/// A folder as job files expect it: `model.safetensors` in it, and `roundwise` on the path.
pub(super) struct Site {
    pub(super) folder: PathBuf,
    tool: PathBuf,
}

impl Site {
    pub(super) fn new(folder: &Path, tool: &Path, model: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder.join("bin"))?;
        fs::create_dir_all(folder.join("attempts"))?;
        fs::copy(model, folder.join("model.safetensors"))?;
        let script = folder.join("bin/roundwise");
        fs::write(&script, VICTIM_SCRIPT)?;
        command::run(Command::new("chmod").arg("+x").arg(&script))?;
        Ok(Self { folder: folder.canonicalize()?, tool: tool.to_owned() })
    }

    /// Returns the command of a program whose `roundwise` is a script that kills what `kills` says.
    pub(super) fn command(&self, program: &Path, kills: Kills) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = self.folder.join("bin");
        let path = std::iter::once(own).chain(std::env::split_paths(&path));
        command
            .current_dir(&self.folder)
            .env("PATH", std::env::join_paths(path).unwrap_or_default());
        command.env("TOOL", &self.tool).env("ATTEMPTS", self.folder.join("attempts"));
        let kills = match kills {
            Kills::Tool => "tool",
            Kills::Parent => "parent",
        };
        command.env("VICTIM", VICTIM.to_string()).env("KILLS", kills);
        command
    }

    /// Merges the parts, unless the job did, and compares with the file of one run. Says how it went.
    pub(super) fn judge(&self, jobs: &JobFiles) -> Result<String> {
        let parts: Vec<PathBuf> = self.paths()?.into_iter().filter(|path| is_part(path)).collect();
        let merged = self.folder.join("model-fp8.safetensors");
        if !merged.exists() {
            let shell = self.command(Path::new("sh"), Kills::Tool);
            command::run({ shell }.arg("-c").arg(format!("{} --quiet", jobs.merge()?)))?;
        }
        let whole = self.folder.join("whole.safetensors");
        let mut convert = Command::new(&self.tool);
        convert.arg("convert").arg(self.folder.join("model.safetensors")).arg("-o").arg(&whole);
        command::run(convert.args(["--method", "principal", "--quiet"]))?;
        ensure!(fs::read(&merged)? == fs::read(&whole)?, "the merged parts are another file");
        let attempts = fs::read_to_string(self.folder.join(format!("attempts/{VICTIM}")))?;
        let attempts = attempts.lines().count();
        ensure!(attempts > 1, "part {VICTIM} was not killed");
        let journal = fs::read_to_string(self.folder.join("attempts/journal"))
            .with_context(|| format!("part {VICTIM} was killed before its first layer"))?;
        Ok(format!(
            "{} parts, part {VICTIM} killed with {} of its layers on disk and begun {attempts} times; \
             merged: same file",
            parts.len(),
            // The first line says what run it is.
            journal.lines().count() - 1
        ))
    }

    fn paths(&self) -> Result<Vec<PathBuf>> {
        fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect()
    }
}
