//! Events as they happen, one line each, for as long as somebody reads.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures_core::Stream;
use tokio::sync::{Notify, mpsc, watch};

use crate::studio::{Shared, locked};

/// Streams that are open, the oldest first. Browsers allow six connections to a server.
#[derive(Default)]
pub(crate) struct Streams(Vec<Weak<Notify>>);

/// Streams at once; one more ends the oldest.
const MOST: usize = 4;

/// Between two lines where nothing happens.
const SILENCE: Duration = Duration::from_secs(15);

impl Streams {
    /// Adds a stream; where there are too many, the oldest is told to end.
    fn add(&mut self, stream: &Arc<Notify>) {
        self.0.retain(|other| other.strong_count() > 0);
        self.0.push(Arc::downgrade(stream));
        while self.0.len() > MOST {
            if let Some(oldest) = self.0.remove(0).upgrade() {
                oldest.notify_one();
            }
        }
    }
}

/// Lines of a stream.
pub(crate) struct Lines(mpsc::Receiver<Bytes>);

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|line| line.map(Ok))
    }
}

/// Opens a stream of what happens after an event.
pub(crate) fn open(shared: &Arc<Shared>, after: u64) -> Lines {
    // A slow reader makes only its own stream wait: what happens meanwhile is kept in the log.
    let (sender, receiver) = mpsc::channel(16);
    let ends = Arc::new(Notify::new());
    locked(&shared.streams).add(&ends);
    tokio::spawn(write(Arc::clone(shared), after, sender, ends));
    Lines(receiver)
}

async fn write(shared: Arc<Shared>, after: u64, to: mpsc::Sender<Bytes>, ends: Arc<Notify>) {
    let mut changes = locked(&shared.ledger).listen();
    let mut last = after;
    loop {
        // Before the events are read, so that one that comes after the reading wakes the loop again.
        changes.mark_unchanged();
        let (text, seq) = since(&shared, last);
        last = seq;
        if !text.is_empty() && to.send(text.into()).await.is_err() {
            return;
        }
        tokio::select! {
            () = changed(&mut changes) => {}
            () = to.closed() => return,
            () = ends.notified() => {
                let line = format!("{{\"seq\":{last},\"job\":null,\"event\":\"crowded\"}}\n");
                let _ = to.send(line.into()).await;
                return;
            }
            // An empty line, by which a reader that is gone is noticed.
            () = tokio::time::sleep(SILENCE) => {
                if to.send(Bytes::from_static(b"\n")).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits for the next event; for ever where there will be none.
async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The events since a given one, and the number of the last.
fn since(shared: &Shared, after: u64) -> (String, u64) {
    let ledger = locked(&shared.ledger);
    let last = ledger.events.last();
    match ledger.events.after(after) {
        Ok(lines) => (lines.iter().map(|line| &**line).collect(), last),
        Err(_) => (format!("{{\"seq\":{last},\"job\":null,\"event\":\"reload\"}}\n"), last),
    }
}
