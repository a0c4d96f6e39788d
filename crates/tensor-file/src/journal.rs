//! The journal of an unfinished file: a text beside it that says which tensors are on disk.
//!
//! Each line is `CHECKSUM JSON`: the first one says what run it is, every other one is a
//! [`Record`]. The checksum is the beginning of the JSON's BLAKE3. The first line that is not whole
//! was being written when the machine stopped: it and what follows are dropped, which is safe,
//! because what is not recorded is done again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk::{folder_of, open_regular, refuse_links, sync_folder};
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// Tensors that are on disk, and notes of their writer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Name of the tensor that they were made from.
    pub name: String,
    /// BLAKE3 of each tensor's bytes, by the tensor's name.
    pub hashes: BTreeMap<String, String>,
    /// Any JSON that the writer wants to read again.
    pub told: Value,
}

/// Most bytes of finished tensors that wait for a sync: what a crash may cost, beside the tensors in
/// the making.
const BATCH_BYTES: u64 = 64 << 20;

/// Longest time that they wait, as long as tensors get finished.
const BATCH_TIME: Duration = Duration::from_millis(500);

/// A journal that is being written. Called from many threads.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    batch: Mutex<Batch>,
}

/// Records of tensors that may not have reached the disk yet.
#[derive(Debug)]
struct Batch {
    lines: String,
    bytes: u64,
    since: Instant,
    /// Records in the file.
    written: usize,
    /// Why a line could not be written whole: whatever follows it would not be read.
    torn: Option<(std::io::ErrorKind, String)>,
}

impl Journal {
    /// Begins a journal, in place of any other.
    pub(crate) fn create(path: PathBuf, run: &Value) -> Result<Self, TensorFileError> {
        refuse_links(&path)?;
        let file = File::create(&path).map_err(|error| Kind::io("create")(error).at(&path))?;
        let journal = Self::of(path, file, 0);
        // On disk before any record: the first line says whose records they are.
        if let Err(error) = journal.write(&line(run)) {
            // An unreadable journal is of no use.
            let _ = std::fs::remove_file(&journal.path);
            return Err(Kind::io("write")(error).at(&journal.path));
        }
        // In a folder that cannot be synced it may vanish with the power, which costs work, not bytes.
        let _ = sync_folder(&folder_of(&journal.path));
        Ok(journal)
    }

    /// Continues a journal after its last whole line.
    pub(crate) fn reopen(path: PathBuf, read: &ReadJournal) -> Result<Self, TensorFileError> {
        refuse_links(&path)?;
        // Not opened to append: with such a handle Windows cannot cut a file.
        let file = OpenOptions::new().write(true).open(&path);
        // A torn line is cut off before more is appended, or it would hide all that follow.
        let file = file.and_then(|mut file| {
            file.set_len(read.bytes)?;
            file.seek(SeekFrom::End(0)).map(|_| file)
        });
        let file = file.map_err(|error| Kind::io("open")(error).at(&path))?;
        Ok(Self::of(path, file, read.records.len()))
    }

    fn of(path: PathBuf, file: File, written: usize) -> Self {
        let batch =
            Batch { lines: String::new(), bytes: 0, since: Instant::now(), written, torn: None };
        Self { path, file, batch: Mutex::new(batch) }
    }

    /// Adds a record about `bytes` bytes of tensors. Returns the lines to [append](Self::append)
    /// now, once the tensors are synced.
    pub(crate) fn add(&self, record: &Record, bytes: u64) -> Option<String> {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        // The line waits in memory: a line in the file says that its tensors are on disk.
        batch.lines += &line(record);
        batch.bytes += bytes;
        // A sync for each tensor would wait for the disk thousands of times; a single one at the end
        // would lose hours of work. With both limits the disk writes one batch while the next tensors
        // are converted.
        let is_due = batch.bytes >= BATCH_BYTES || batch.since.elapsed() >= BATCH_TIME;
        is_due.then(|| batch.take())
    }

    /// Returns everything that still waits.
    pub(crate) fn take(&self) -> String {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the number of records in the file.
    pub(crate) fn written(&self) -> usize {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner).written
    }

    /// Writes records, and waits until the disk has them. Once that has failed it always does.
    pub(crate) fn append(&self, lines: &str) -> Result<(), TensorFileError> {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match &batch.torn {
            // Several threads write, and whoever is heard first has to say what is wrong.
            Some((kind, why)) => Err(std::io::Error::new(*kind, why.clone())),
            None => self.write(lines),
        };
        match written {
            Ok(()) => {
                batch.written += lines.lines().count();
                Ok(())
            }
            Err(error) => {
                // Part of a line may be in the file, and a reader drops whatever follows such a line.
                batch.torn = Some((error.kind(), error.to_string()));
                Err(Kind::io("write")(error).at(&self.path))
            }
        }
    }

    fn write(&self, lines: &str) -> std::io::Result<()> {
        (&self.file).write_all(lines.as_bytes())?;
        // Syncs the data only, with the length, which is needed to find it; the times of the file may
        // be lost.
        self.file.sync_data()
    }

    /// Writes into another file from now on.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn lead_to(&mut self, file: File) {
        self.file = file;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Batch {
    fn take(&mut self) -> String {
        self.bytes = 0;
        self.since = Instant::now();
        std::mem::take(&mut self.lines)
    }
}

/// A journal as it was found.
#[derive(Debug)]
pub(crate) struct ReadJournal {
    pub(crate) run: Value,
    pub(crate) records: Vec<Record>,
    /// Length up to the end of the last whole line.
    pub(crate) bytes: u64,
}

impl ReadJournal {
    /// Opens a journal; returns `None` where there is none, or not even its first line is whole.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, TensorFileError> {
        // Not `exists`, which follows links: a link that leads nowhere is an error, not a missing
        // journal.
        if std::fs::symlink_metadata(path).is_err() {
            return Ok(None);
        }
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut open_regular(path)?.0, &mut text)
            .map_err(|error| Kind::io("read")(error).at(path))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.split_inclusive(|&byte| byte == b'\n');
        let first = lines.next()?;
        let mut journal = Self { run: parsed(first)?, records: vec![], bytes: first.len() as u64 };
        for line in lines {
            // The rest is dropped: nothing that follows a torn line can have been synced before it.
            let Some(record) = parsed(line) else { break };
            journal.records.push(record);
            journal.bytes += line.len() as u64;
        }
        Some(journal)
    }
}

fn line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("texts and numbers always serialise");
    format!("{} {json}\n", checksum(&json))
}

/// Returns the value of a line; `None` for one that is not whole.
fn parsed<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Option<T> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    // The checksum before the parser: JSON that is cut may still be JSON.
    let (found, json) = line.split_once(' ')?;
    (found == checksum(json)).then(|| serde_json::from_str(json).ok())?
}

fn checksum(json: &str) -> String {
    const DIGITS: usize = 16;
    // 64 bits are enough to tell a torn line from a whole one.
    blake3::hash(json.as_bytes()).to_hex()[..DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn record(name: &str) -> Record {
        let hashes = BTreeMap::from([(format!("{name}.weight"), "00".to_owned())]);
        Record { name: name.to_owned(), hashes, told: json!({ "seconds": 0.5 }) }
    }

    fn journal() -> (String, Vec<Record>) {
        let records: Vec<Record> = ["a", "b \"\n", "c"].map(record).to_vec();
        let lines: String = records.iter().map(line).collect();
        (line(&json!({ "tool": "1" })) + &lines, records)
    }

    #[test]
    fn what_is_written_is_read() {
        let (text, records) = journal();
        let read = ReadJournal::parse(text.as_bytes()).unwrap();
        assert_eq!((read.records, read.bytes), (records, text.len() as u64));
        assert_eq!(read.run["tool"], "1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn why_a_record_was_not_written_is_told_to_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path().join("j"), &Value::Null).unwrap();
        journal.lead_to(OpenOptions::new().write(true).open("/dev/full").unwrap());
        for _ in 0..2 {
            let error = journal.append("a record\n").unwrap_err().to_string();
            assert!(error.contains("No space left on device"), "{error}");
        }
    }

    proptest! {
        /// Cut anywhere, or with any byte changed: nothing is believed that was not written.
        #[test]
        fn a_torn_or_damaged_end_is_dropped(cut in 0_usize..500, at in 0_usize..500, flip in 1_u8..) {
            let (text, records) = journal();
            let torn = &text.as_bytes()[..cut.min(text.len())];
            let mut damaged = text.clone().into_bytes();
            let at = at % damaged.len();
            damaged[at] ^= flip;
            for text in [torn, &damaged] {
                let Some(read) = ReadJournal::parse(text) else { continue };
                prop_assert_eq!(&read.run, &json!({ "tool": "1" }));
                prop_assert!(records.starts_with(&read.records));
                prop_assert!(read.bytes <= text.len() as u64);
            }
        }
    }
}
