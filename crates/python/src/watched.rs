//! Long work: off Python's lock, with its events and Ctrl-C.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use pyo3::prelude::*;
use roundwise_convert::report::StopFlag;
use roundwise_convert::{ConvertError, Event, Watch};

use crate::error::raised;
use crate::json::from_text;

/// How long Ctrl-C waits at most before it is noticed.
const PAUSE: Duration = Duration::from_millis(50);

/// Events that wait for a slow listener before the work waits, too.
const WAITING: usize = 256;

/// Runs work on a thread of its own, while this one listens for Ctrl-C and hands on events.
///
/// - `progress`: called with each event, as a dictionary
///
/// # Errors
/// What the work answers. What Ctrl-C or `progress` raise stops the work first; why it ended then is the
/// cause of the exception.
pub(crate) fn watched<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&dyn Watch) -> Result<T, ConvertError> + Send,
) -> PyResult<T> {
    let stop = StopFlag::new();
    let (sender, receiver) = sync_channel(WAITING);
    let receiver = Mutex::new(receiver);
    let telling = Telling { stop: &stop, events: sender, tells: progress.is_some() };
    let (result, interruption) = std::thread::scope(|scope| {
        // It takes the sender along: once it ends, nothing can arrive.
        let worker = scope.spawn(move || {
            let telling = telling;
            work(&telling)
        });
        let mut interruption: Option<PyErr> = None;
        loop {
            let event = py.detach(|| {
                let events = receiver.lock().expect("no thread panics while holding it");
                events.recv_timeout(PAUSE)
            });
            let heard = match (event, progress) {
                (Err(RecvTimeoutError::Disconnected), _) => break,
                (Ok(event), Some(progress)) if interruption.is_none() => {
                    from_text(py, &event).and_then(|event| progress.call1((event,)).map(drop))
                }
                // After an interruption events are taken and dropped: a full channel would keep the
                // work from its end.
                (Ok(_) | Err(RecvTimeoutError::Timeout), _) => Ok(()),
            };
            if interruption.is_none() {
                interruption = heard.and_then(|()| py.check_signals()).err();
            }
            if interruption.is_some() {
                stop.ask();
            }
        }
        (worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), interruption)
    });
    match (result, interruption) {
        (Err(error), Some(interruption)) => {
            interruption.set_cause(py, Some(raised(py, error)));
            Err(interruption)
        }
        (Ok(_), Some(interruption)) => Err(interruption),
        (result, None) => result.map_err(|error| raised(py, error)),
    }
}

struct Telling<'a> {
    stop: &'a StopFlag,
    events: SyncSender<String>,
    tells: bool,
}

impl Watch for Telling<'_> {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        if self.tells {
            let text = serde_json::to_string(&event).expect("events always serialise");
            // Whoever listened has gone only once the work has ended.
            let _ = self.events.send(text);
        }
        self.stop.answer()
    }
}
