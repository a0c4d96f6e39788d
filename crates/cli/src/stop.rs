use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use roundwise_convert::report::StopFlag;

use crate::console::complain;

/// Asked by Ctrl-C, SIGTERM, and by programs that read events.
pub(crate) static STOP: StopFlag = StopFlag::new();
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Listens for Ctrl-C and SIGTERM: the first asks the work to stop between two tensors, the second
/// ends the program at once. Either way, finished tensors stay for the next run.
pub(crate) fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| match STOP.ask() {
        false if std::io::stderr().is_terminal() => {
            tell(
                "stopping; a search is left off, other tensors are finished; press Ctrl-C again to quit at once",
            );
        }
        false => {}
        true => {
            if let Some(bar) = &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
                bar.finish_and_clear();
            }
            complain(format_args!("error: stopped at once; the same command continues"));
            std::process::exit(130)
        }
    })?;
    Ok(())
}

/// Remembers the bar that is on the screen, to write above it.
pub(crate) fn note_bar(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
}

/// Writes a line of its own, although the terminal may have shown `^C` where the bar is.
fn tell(line: &str) {
    match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(|| complain(format_args!("{line}"))),
        None => complain(format_args!("{line}")),
    }
}
