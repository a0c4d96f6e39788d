use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use roundwise_convert::report::StopFlag;

use crate::console::complain;

/// Asked by Ctrl-C, SIGTERM, and by programs that read events.
pub(crate) static STOP: StopFlag = StopFlag::new();
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The work that Ctrl-C interrupts, which decides the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Tensors are written, with codes that are searched for.
    Search,
    /// Tensors are written.
    Tensors,
    /// Files are joined, in one go.
    Joining,
    /// Files are only read.
    Looking,
    /// The page in the browser is served.
    Studio,
}

impl Work {
    /// Returns what the first Ctrl-C does, in fewer than 80 columns.
    fn stopping(self) -> &'static str {
        match self {
            Work::Search => "stopping; searches are left off; press Ctrl-C again to quit at once",
            Work::Tensors => {
                "stopping; tensors in work are finished; press Ctrl-C again to quit at once"
            }
            Work::Joining | Work::Looking => "stopping; press Ctrl-C again to quit at once",
            Work::Studio => {
                "stopping; what is finished is kept; press Ctrl-C again to quit at once"
            }
        }
    }

    /// Returns what the second one leaves.
    fn stopped(self) -> &'static str {
        match self {
            Work::Search | Work::Tensors => "stopped at once; the same command continues",
            Work::Joining => "stopped at once; the file is not complete",
            Work::Looking => "stopped at once",
            Work::Studio => "stopped at once; what is finished is kept",
        }
    }
}

/// Listens for Ctrl-C and SIGTERM: the first asks the work to stop between two tensors, the second
/// ends the program at once.
///
/// - `is_quiet`: the first is answered without a message
pub(crate) fn listen(work: Work, is_quiet: bool) -> anyhow::Result<()> {
    ctrlc::set_handler(move || match STOP.ask() {
        false if !is_quiet && std::io::stderr().is_terminal() => tell(work.stopping()),
        false => {}
        true => {
            // A bar that stays would be drawn into the line that follows.
            if let Some(bar) = &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
                bar.finish_and_clear();
            }
            complain(format_args!("error: {}", work.stopped()));
            // Nothing is cleaned up: an unfinished output and its journal are what the next run continues from.
            // 128 and the number of SIGINT, as shells have it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_that_is_kept_is_said_to_continue() {
        let all = [Work::Search, Work::Tensors, Work::Joining, Work::Looking, Work::Studio];
        for work in all {
            let continues = work.stopped().contains("the same command continues");
            assert_eq!(continues, matches!(work, Work::Search | Work::Tensors), "{work:?}");
            assert_eq!(work.stopping().contains("search"), work == Work::Search, "{work:?}");
            assert!(work.stopping().len() < 80, "{work:?}: a terminal would break it");
        }
    }
}
