use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use roundwise_convert::report::StopFlag;
use roundwise_convert::tensor_file::unfinished_files;

use crate::console::complain;
use crate::text::path;

/// Asked by Ctrl-C, SIGTERM, and by programs that read events.
pub(crate) static STOP: StopFlag = StopFlag::new();
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);
static OUTPUTS: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);

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
    #[cfg(feature = "studio")]
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
            #[cfg(feature = "studio")]
            Work::Studio => {
                "stopping; what is finished is kept; press Ctrl-C again to quit at once"
            }
        }
    }

    /// Returns what the second one leaves.
    fn stopped(self) -> &'static str {
        match self {
            Work::Search | Work::Tensors => "stopped at once; the same command continues",
            // Its name has a random part: no later run goes on with it.
            Work::Joining => {
                "stopped at once; beside the output a hidden `.partial` file stays, to be removed"
            }
            Work::Looking => "stopped at once",
            #[cfg(feature = "studio")]
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
            let outputs = OUTPUTS.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = left_behind(&outputs) {
                complain(format_args!("  {line}"));
            }
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

/// Remembers the outputs that are in the making, to name what an end at once leaves of them.
pub(crate) fn note_outputs(outputs: Vec<PathBuf>) {
    *OUTPUTS.lock().unwrap_or_else(PoisonError::into_inner) = outputs;
}

/// Names the unfinished files of outputs; `None` where there are none.
fn left_behind(outputs: &[PathBuf]) -> Option<String> {
    let files: Vec<String> = outputs
        .iter()
        .flat_map(|output| unfinished_files(output))
        .map(|file| path(&file))
        .collect();
    let files = files.join(" and ");
    (!files.is_empty()).then(|| format!("until then {files} stay; to give it up, remove them"))
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
    fn an_end_at_once_names_what_stays() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("m.safetensors");
        assert_eq!(left_behind(std::slice::from_ref(&output)), None);
        for ending in ["partial", "journal"] {
            let file = folder.path().join(format!(".m.safetensors.{ending}"));
            std::fs::write(&file, "").unwrap();
            let line = left_behind(std::slice::from_ref(&output)).unwrap();
            assert!(line.contains(&path(&file)), "{line}");
        }
    }

    #[test]
    fn only_work_that_is_kept_is_said_to_continue() {
        let all = [
            Work::Search,
            Work::Tensors,
            Work::Joining,
            Work::Looking,
            #[cfg(feature = "studio")]
            Work::Studio,
        ];
        for work in all {
            let continues = work.stopped().contains("the same command continues");
            assert_eq!(continues, matches!(work, Work::Search | Work::Tensors), "{work:?}");
            assert_eq!(work.stopping().contains("search"), work == Work::Search, "{work:?}");
            assert!(work.stopping().len() < 80, "{work:?}: a terminal would break it");
        }
    }
}
