use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::journal::{Journal, ReadJournal, Record};
use crate::pending_file::{JOURNAL, PARTIAL, journal_path, partial_path};
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// A file that an earlier run began to write and did not finish, with its journal.
#[derive(Debug)]
pub struct UnfinishedFile {
    target: PathBuf,
    journal: ReadJournal,
}

impl UnfinishedFile {
    /// Looks for the unfinished file of an earlier run towards `target`. Returns `None` where
    /// nothing was recorded that could be continued.
    ///
    /// # Errors
    /// When the journal is there and cannot be read.
    pub fn find(target: &Path) -> Result<Option<Self>, TensorFileError> {
        let journal = ReadJournal::open(&journal_path(target))?;
        let is_there = std::fs::symlink_metadata(partial_path(target)).is_ok();
        // Without a record there is nothing to lose: the next run begins anew without asking.
        let journal = journal.filter(|journal| is_there && !journal.records.is_empty());
        Ok(journal.map(|journal| Self { target: target.to_owned(), journal }))
    }

    /// Returns what the run said about itself in [`TensorFileWriter::begin`](crate::TensorFileWriter::begin).
    pub fn run(&self) -> &Value {
        &self.journal.run
    }

    /// Returns the path of the unfinished file.
    pub fn path(&self) -> PathBuf {
        partial_path(&self.target)
    }

    /// Returns the number of tensors that the run had finished.
    pub fn records(&self) -> usize {
        self.journal.records.len()
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the records, and the journal for more of them.
    pub(crate) fn into_journal(self) -> Result<(Vec<Record>, Journal), TensorFileError> {
        let journal = Journal::reopen(journal_path(&self.target), &self.journal)?;
        Ok((self.journal.records, journal))
    }
}

/// Returns the hidden files beside `target` that a run towards it writes to and has not taken away: the
/// unfinished file and its journal. A later run finds them by these names.
pub fn unfinished_files(target: &Path) -> Vec<PathBuf> {
    let is_there = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok();
    [partial_path(target), journal_path(target)].into_iter().filter(is_there).collect()
}

/// Ending of what aria2 keeps beside a file that it downloads, whose whole length is taken from the beginning.
const DOWNLOAD_CONTROL: &str = ".aria2";

/// Endings of names that programs give a file while they download it: Chrome, Firefox and others, the hub's
/// library, Safari, Opera.
const DOWNLOAD_ENDINGS: [&str; 5] =
    [".crdownload", ".part", ".incomplete", ".download", ".opdownload"];

/// Checks that no program is in the middle of writing a file or folder: what is missing of it would count as zeros.
///
/// # Errors
/// [`Kind::Unfinished`] where the program keeps beside it what it has written so far, and
/// [`Kind::DownloadName`] where its name says so.
pub fn check_finished(path: &Path) -> Result<(), TensorFileError> {
    check_finished_here(path)?;
    // What is written lies beside the file itself, not beside a link to it.
    std::fs::canonicalize(path).map_or(Ok(()), |target| check_finished_here(&target))
}

fn check_finished_here(path: &Path) -> Result<(), TensorFileError> {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return Ok(()) };
    if let Some(ending) = DOWNLOAD_ENDINGS.into_iter().find(|ending| name.ends_with(ending)) {
        return Err(Kind::DownloadName { ending }.at(path));
    }
    let own = name.strip_suffix(PARTIAL).map(|start| format!("{start}{JOURNAL}"));
    let mut controls = own.into_iter().chain([format!("{name}{DOWNLOAD_CONTROL}")]);
    match controls.find(|control| path.with_file_name(control).exists()) {
        Some(control) => Err(Kind::Unfinished { control }.at(path)),
        None => Ok(()),
    }
}
