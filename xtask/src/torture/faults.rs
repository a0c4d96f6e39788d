//! Disks that fail: writes and syncs that do, writes that are short, a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::command;
use crate::command;

/// The library that stands between the tool and the system.
pub(crate) struct FaultyDisk {
    library: PathBuf,
}

impl FaultyDisk {
    /// Needs a C compiler, which Rust needs for linking anyway.
    pub(crate) fn build(source: &Path, folder: &Path) -> Result<Self> {
        let library = folder.join("faulty.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        command::run(&mut cc)?;
        Ok(Self { library })
    }

    /// Returns the command with a disk that is never waited for.
    pub(crate) fn without_syncs(&self, tool: Command) -> Command {
        self.on(tool, &[("SKIP_SYNC", 1)])
    }

    fn on(&self, mut tool: Command, faults: &[(&str, usize)]) -> Command {
        let faults = faults.iter().map(|(name, at)| (*name, at.to_string()));
        tool.env("LD_PRELOAD", &self.library).envs(faults);
        tool
    }
}

/// Fails every kind of write at many moments; each failure must be told, leave no file under the
/// output's name, and be gone on from to the same bytes.
pub(crate) fn writes(
    tool: &Path,
    model: &Path,
    folder: &Path,
    disk: &FaultyDisk,
    moments: usize,
) -> Result<String> {
    let output = folder.join("faulty.safetensors");
    let convert = || command(tool, model, &output, &[]);
    ensure!(convert().arg("--fresh").status()?.success(), "the tool fails");
    let whole = fs::read(&output)?;
    let (mut told, mut resumed) = (0, 0);
    for at in 1..=moments {
        for faults in [
            &[("FAIL_WRITE", at)][..],
            &[("FAIL_WRITE", at), ("FAIL_FULL", 1)],
            &[("FAIL_SYNC", at)],
        ] {
            fs::remove_file(&output)?;
            let outcome = disk.on(convert(), faults).stderr(Stdio::piped()).output()?;
            if outcome.status.success() {
                // There were fewer writes than that.
                ensure!(fs::read(&output)? == whole, "{faults:?}: another file");
                continue;
            }
            let is_told = outcome.status.code() == Some(1) && !outcome.stderr.is_empty();
            ensure!(is_told, "{faults:?}: {}", outcome.status);
            told += 1;
            // A folder that cannot be synced is reported after the rename.
            ensure!(
                !output.exists() || fs::read(&output)? == whole,
                "{faults:?}: a damaged output"
            );
            ensure!(convert().status()?.success(), "{faults:?}: not gone on from");
            ensure!(fs::read(&output)? == whole, "{faults:?}: another file after it");
            resumed += 1;
        }
    }
    for every in 1..=3 {
        let short = disk.on(convert(), &[("SHORT_WRITE", every)]).status()?;
        ensure!(
            short.success() && fs::read(&output)? == whole,
            "short writes are not gone on with"
        );
    }
    Ok(format!(
        "{told} failed writes and syncs told, {resumed} resumed to the same file; short writes: same file"
    ))
}

/// Converts into a file system with room for some of the output.
pub(crate) fn full_disk(tool: &Path, model: &Path, folder: &Path) -> Result<String> {
    let mount = folder.join("small-disk");
    fs::create_dir_all(&mount)?;
    let mut mounted = Command::new("mount");
    mounted.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&mount);
    if !command::succeeds(&mut mounted) {
        return Ok("not run: nothing may be mounted here".to_owned());
    }
    let result = on_full_disk(tool, model, &mount);
    command::run(Command::new("umount").arg(&mount))?;
    result
}

fn on_full_disk(tool: &Path, model: &Path, mount: &Path) -> Result<String> {
    let output = mount.join("out.safetensors");
    let outcome = command(tool, model, &output, &[]).stderr(Stdio::piped()).output()?;
    let complaint = String::from_utf8_lossy(&outcome.stderr).into_owned();
    ensure!(outcome.status.code() == Some(1), "{}: {complaint}", outcome.status);
    ensure!(complaint.contains("the disk has"), "another complaint: {complaint}");
    ensure!(fs::read_dir(mount)?.next().is_none(), "something is left on the full disk");
    command::run(Command::new("mount").args(["-o", "remount,size=64m"]).arg(mount))?;
    ensure!(command(tool, model, &output, &[]).status()?.success(), "with room it fails, too");
    Ok("refused before any work, with numbers; nothing left; with room it succeeds".to_owned())
}
