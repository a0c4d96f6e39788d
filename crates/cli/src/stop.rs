use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Ctrl-C and SIGTERM ask the conversion to stop between two tensors. Further ones change
/// nothing: only an orderly end takes the unfinished file away.
pub(crate) fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        let is_first = !STOP.swap(true, Ordering::Relaxed);
        if is_first && std::io::stderr().is_terminal() {
            eprintln!("\nstopping after the tensors in progress");
        }
    })?;
    Ok(())
}

/// Whether someone asked to stop.
pub(crate) fn is_asked_for() -> bool {
    STOP.load(Ordering::Relaxed)
}
