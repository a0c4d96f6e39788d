use std::fs::File;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::journal::Journal;
use crate::pending::Pending;
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// A thread that waits for the disk and then appends records, so that those who convert do not wait.
#[derive(Debug, Default)]
pub(super) struct Settler {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    NotStarted,
    Running {
        lines: SyncSender<String>,
        thread: JoinHandle<Result<(), TensorFileError>>,
    },
    /// It has failed, or could not be started: records are appended by those who have them.
    Ended,
}

/// Batches of records that wait for the one whose tensors are being synced: a disk that is too slow slows
/// those who convert, so that a crash costs no more than a few batches.
const WAITING: usize = 1;

impl Settler {
    /// Appends records once their tensors are on disk, sooner or later.
    ///
    /// # Errors
    /// When these or earlier ones could not be appended.
    pub(super) fn put(
        &self,
        pending: &Pending,
        journal: &Arc<Journal>,
        lines: String,
    ) -> Result<(), TensorFileError> {
        let mut state = self.lock();
        if let State::NotStarted = *state {
            *state = start(pending, journal).unwrap_or(State::Ended);
        }
        let refused = match &*state {
            State::Running { lines: sender, .. } => sender.send(lines).err().map(|error| error.0),
            State::NotStarted | State::Ended => Some(lines),
        };
        drop(state);
        match refused {
            None => Ok(()),
            Some(lines) => {
                self.finish()?;
                settle(pending, journal, &lines)
            }
        }
    }

    /// Waits until all records are appended.
    ///
    /// # Errors
    /// When some could not be.
    pub(super) fn finish(&self) -> Result<(), TensorFileError> {
        let state = std::mem::replace(&mut *self.lock(), State::Ended);
        let State::Running { lines, thread } = state else { return Ok(()) };
        drop(lines);
        thread.join().expect("syncing and writing do not panic")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        // The thread holds the files, and with them their lock. Whoever gives an output up has no use for an error.
        let _ = self.finish();
    }
}

/// Appends records once their tensors are on disk: only then are they true.
pub(super) fn settle(
    pending: &Pending,
    journal: &Journal,
    lines: &str,
) -> Result<(), TensorFileError> {
    if lines.is_empty() {
        return Ok(());
    }
    pending.sync_data()?;
    journal.append(lines)
}

/// Starts the thread; `None` where the system has none to give.
fn start(pending: &Pending, journal: &Arc<Journal>) -> Option<State> {
    let files: Vec<File> =
        pending.files().iter().map(File::try_clone).collect::<Result<_, _>>().ok()?;
    let (target, journal) = (pending.target().to_owned(), Arc::clone(journal));
    let (lines, batches) = sync_channel::<String>(WAITING);
    let settle_all = move || {
        batches.into_iter().try_for_each(|lines| {
            let synced = files.iter().try_for_each(File::sync_data);
            synced.map_err(|error| Kind::io("sync")(error).at(&target))?;
            journal.append(&lines)
        })
    };
    let thread = Builder::new().name("sync".to_owned()).spawn(settle_all).ok()?;
    Some(State::Running { lines, thread })
}
