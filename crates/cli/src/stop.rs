use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Ctrl-C and SIGTERM ask the conversion to stop between two tensors; the second one means it.
pub(crate) fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Whether someone asked to stop.
pub(crate) fn is_asked_for() -> bool {
    STOP.load(Ordering::Relaxed)
}
