use std::collections::VecDeque;
use std::sync::Arc;

/// The last things that happened, as lines of JSON, each with its number.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    lines: VecDeque<Arc<str>>,
    /// Number of the last one; the first has number 1.
    last: u64,
}

/// Lines that are kept.
const KEPT: usize = 10_000;

/// Some of what happened is no longer known: snapshots have to be fetched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

impl EventLog {
    /// Number of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds an event and returns its number.
    ///
    /// - `job`: that it is about
    /// - `fields`: what stands between the braces of an object, at least one field
    pub(crate) fn push(&mut self, job: Option<u64>, fields: &str) -> u64 {
        self.last += 1;
        let seq = self.last;
        let job = job.map_or("null".to_owned(), |id| format!("\"{id}\""));
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        // Put together as text: most fields are a line of a worker, which is JSON already.
        self.lines.push_back(format!("{{\"seq\":{seq},\"job\":{job},{fields}}}\n").into());
        seq
    }

    /// The events after a given one.
    ///
    /// # Errors
    /// Where the first of them is no longer known, or `seq` is of another server's run.
    pub(crate) fn after(&self, seq: u64) -> Result<Vec<Arc<str>>, Forgotten> {
        let missed = self.last.checked_sub(seq).ok_or(Forgotten)?;
        let missed = usize::try_from(missed).ok().filter(|missed| *missed <= self.lines.len());
        let first = self.lines.len() - missed.ok_or(Forgotten)?;
        Ok(self.lines.iter().skip(first).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_and_the_last_ones_kept() {
        let mut log = EventLog::default();
        assert_eq!(log.after(0), Ok(vec![]));
        assert_eq!(log.after(1), Err(Forgotten), "of another time");
        log.push(Some(3), "\"event\":\"state\"");
        log.push(None, "\"event\":\"queue\"");
        let lines = log.after(0).unwrap();
        assert_eq!(&*lines[0], "{\"seq\":1,\"job\":\"3\",\"event\":\"state\"}\n");
        assert_eq!(&*lines[1], "{\"seq\":2,\"job\":null,\"event\":\"queue\"}\n");
        assert_eq!(log.after(1).unwrap().len(), 1);
        for _ in 0..KEPT {
            log.push(None, "\"event\":\"queue\"");
        }
        assert_eq!(log.after(1), Err(Forgotten));
        assert_eq!(log.after(2).unwrap().len(), KEPT);
    }
}
