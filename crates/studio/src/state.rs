//! The state that outlasts the server: a folder that nobody else may read.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use roundwise_convert::tensor_file::{Overwrite, read_text, write_text_atomically};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::StudioError;
use crate::job::{Job, JobState, Record};
use crate::queue::Order;

/// The folder of a server, locked as long as it runs.
#[derive(Debug)]
pub(crate) struct StateFolder {
    path: PathBuf,
    _lock: Option<File>,
}

/// Where the server that holds the lock is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) port: u16,
    pub(crate) key: String,
}

/// Inputs that were looked at, kept for the next time.
const RECENT: usize = 12;

/// The folder of the address, which holds the key: private also where somebody else made the state's folder.
const ADDRESS_FOLDER: &str = "server";

impl StateFolder {
    /// Opens the folder, and makes it where it is not there; `None` where another server holds it.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StudioError> {
        let failed = |source| StudioError::State { path: path.to_owned(), source };
        for folder in [path.to_owned(), path.join("jobs"), path.join(ADDRESS_FOLDER)] {
            make_private(&folder).map_err(failed)?;
        }
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true);
        let lock = options.open(path.join("lock")).map_err(failed)?;
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some file systems have no locks: at worst two servers overwrite each other's lists.
            Err(TryLockError::Error(_)) => None,
        };
        Ok(Some(Self { path: path.to_owned(), _lock: lock }))
    }

    /// Tells where this server is found.
    pub(crate) fn tell_address(&self, address: &Address) -> Result<(), StudioError> {
        self.write(&format!("{ADDRESS_FOLDER}/address.json"), address)
            .map_err(|source| StudioError::State { path: self.path.clone(), source })
    }

    /// Where the server that holds `path` is found.
    pub(crate) fn address_of(path: &Path) -> Option<Address> {
        read(&path.join(ADDRESS_FOLDER).join("address.json"))
    }

    /// The jobs of earlier servers. What ran when a server ended is interrupted; what cannot be read
    /// is passed over.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        let Ok(entries) = std::fs::read_dir(self.path.join("jobs")) else { return vec![] };
        let record = |folder: PathBuf| {
            let mut record: Record = read(&folder.join("job.json"))?;
            if record.state.is_active() {
                record.state = JobState::Interrupted;
            }
            // A folder that was copied or renamed would give a number to two jobs.
            (folder == self.job(record.id)).then_some(Job::new(record))
        };
        entries.flatten().filter_map(|entry| record(entry.path())).collect()
    }

    pub(crate) fn order(&self) -> Order {
        read(&self.path.join("queue.json")).unwrap_or_default()
    }

    /// Remembers the order of the jobs.
    pub(crate) fn save_order(&self, order: &Order) -> io::Result<()> {
        self.write("queue.json", order)
    }

    /// Remembers a job.
    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        let folder = self.job(record.id);
        make_private(&folder)?;
        let recipe = record.order.recipe.to_toml().map_err(io::Error::other)?;
        write_text(&self.recipe(record.id), &recipe)?;
        let text = serde_json::to_string_pretty(record).map_err(io::Error::other)?;
        write_text(&folder.join("job.json"), &text)
    }

    pub(crate) fn forget(&self, id: u64) -> io::Result<()> {
        std::fs::remove_dir_all(self.job(id))
    }

    fn job(&self, id: u64) -> PathBuf {
        self.path.join("jobs").join(id.to_string())
    }

    /// The recipe of a job, for commands too long for flags.
    pub(crate) fn recipe(&self, id: u64) -> PathBuf {
        self.job(id).join("recipe.toml")
    }

    /// The report of a job, as text.
    pub(crate) fn report(&self, id: u64) -> Option<String> {
        // Not by `read_text`: a report may be longer than the bound for texts of strangers.
        std::fs::read_to_string(self.job(id).join("report.json")).ok()
    }

    pub(crate) fn save_report(&self, id: u64, text: &str) -> io::Result<()> {
        write_text(&self.job(id).join("report.json"), text)
    }

    /// The file that lines of a job's log are added to.
    pub(crate) fn log(&self, id: u64) -> Option<LogFile> {
        let file = File::options().create(true).append(true).open(self.job(id).join("log.txt"));
        file.ok().map(LogFile)
    }

    /// Inputs that were looked at, the last one first.
    pub(crate) fn recent(&self) -> Vec<PathBuf> {
        read(&self.path.join("recent.json")).unwrap_or_default()
    }

    /// Remembers an input.
    pub(crate) fn add_recent(&self, input: &Path) -> io::Result<()> {
        let mut recent = self.recent();
        // Every change of a setting plans anew and gets here: nothing is written where nothing changes.
        if recent.first().is_some_and(|first| first == input) {
            return Ok(());
        }
        recent.retain(|other| other != input);
        recent.insert(0, input.to_owned());
        recent.truncate(RECENT);
        self.write("recent.json", &recent)
    }

    /// Something that is remembered by its name.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        read(&self.path.join(name))
    }

    pub(crate) fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        write_text(&self.path.join(name), &text)
    }
}

/// The log of a job, added to line by line.
pub(crate) struct LogFile(File);

impl LogFile {
    /// A log that cannot be written is no reason to end the job.
    pub(crate) fn add(&mut self, line: &str) {
        let _ = writeln!(self.0, "{line}");
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    // Through a `Value`, as requests are read: readers are compiled for one source, not two.
    let value = serde_json::from_str(&read_text(path).ok()?).ok()?;
    serde_json::from_value(value).ok()
}

fn write_text(path: &Path, text: &str) -> io::Result<()> {
    write_text_atomically(path, text, Overwrite::Replace).map_err(io::Error::other)
}

/// Makes a folder that only its owner may look into; one that is there keeps its mode.
fn make_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}
