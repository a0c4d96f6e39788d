use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::console::complain;

static STOP: AtomicBool = AtomicBool::new(false);
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Ctrl-C and SIGTERM ask the work to stop between two tensors; a second one ends the program at
/// once, without the unfinished file.
pub(crate) fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| match STOP.swap(true, Ordering::Relaxed) {
        false if std::io::stderr().is_terminal() => {
            complain(format_args!(
                "\nfinishing the tensors in progress; press Ctrl-C again to quit at once"
            ));
        }
        false => {}
        true => quit(),
    })?;
    Ok(())
}

/// Whether someone asked to stop.
pub(crate) fn is_asked_for() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Remembers what is to be removed when the program ends at once. Once finished, the file has
/// another name.
pub(crate) fn note_unfinished(path: &Path) {
    *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
}

fn quit() -> ! {
    if std::io::stderr().is_terminal() {
        complain(format_args!(""));
    }
    let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).take();
    match unfinished.map(|path| std::fs::remove_file(&path).map_err(|error| (path, error))) {
        Some(Err((path, error))) if error.kind() != std::io::ErrorKind::NotFound => {
            complain(format_args!(
                "error: stopped at once; cannot remove {}: {error}",
                path.display()
            ));
        }
        _ => complain(format_args!("error: stopped at once")),
    }
    std::process::exit(130)
}
