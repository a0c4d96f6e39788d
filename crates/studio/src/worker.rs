//! A process that works on a job.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::command::words_of;
use crate::heard::Heard;
use crate::studio::{Shared, locked};

/// A running process. Dropping it ends its standard input, which asks it to stop.
pub(crate) struct Worker {
    stdin: Option<ChildStdin>,
    child: Arc<Mutex<Child>>,
}

/// Longest line that is read whole; the report of a model of 100,000 tensors has some 60 MB.
const LINE_BYTES: u64 = 256 << 20;

impl Worker {
    /// Starts the command that a job is, and listens to it.
    pub(crate) fn start(shared: &Arc<Shared>, id: u64) -> io::Result<Self> {
        let (mut command, kind) = {
            let ledger = locked(&shared.ledger);
            let job = ledger.queue.get(id).ok_or(io::ErrorKind::NotFound)?;
            let words = words_of(&job.record.order, &shared.state.recipe(id));
            let mut command = Command::new(&shared.program);
            command.args(&words[1..]).arg("--events");
            if job.record.starts_over
                && job.record.order.kind.writes()
                && !words.contains(&"--fresh".to_owned())
            {
                command.arg("--fresh");
            }
            (command, job.record.order.kind)
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        set_apart(&mut command);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let child = Arc::new(Mutex::new(child));
        let worker = Self { stdin, child: Arc::clone(&child) };
        let words = Arc::clone(shared);
        // Both pipes are read at once: a full one would halt the worker.
        let complaints = std::thread::spawn(move || {
            let mut log = words.state.log(id);
            for_each_line(stderr, |line| {
                if let Some(log) = &mut log {
                    log.add(line);
                }
                locked(&words.ledger).hear_words(id, line);
            });
        });
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            for_each_line(stdout, |line| hear(&shared, id, Heard::read(line, kind)));
            // Joined first, so that the job's log has the last words before its end is told.
            let _ = complaints.join();
            let status = wait(&child);
            locked(&shared.ledger).end(&shared.state, id, status);
            shared.advance();
        });
        Ok(worker)
    }

    /// Asks it to stop, as Ctrl-C does.
    pub(crate) fn stop(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            // A worker that is gone need not be asked.
            let _ = stdin.write_all(b"stop\n").and_then(|()| stdin.flush());
        }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = locked(&self.child).kill();
    }
}

/// Passes a line on to the ledger. A report is saved before the lock is taken: writing it may take long, and the
/// page would wait.
fn hear(shared: &Shared, id: u64, heard: Heard) {
    let is_kept = match &heard {
        Heard::Done(outcome) => shared.state.save_report(id, &outcome.report).is_ok(),
        Heard::Words(_) | Heard::Event { .. } | Heard::Failed(_) => false,
    };
    locked(&shared.ledger).hear(&shared.state, id, heard, is_kept);
}

/// Ctrl-C in the terminal is for the server, which ends its worker itself.
fn set_apart(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        let flags = CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW;
        std::os::windows::process::CommandExt::creation_flags(command, flags);
    }
    #[cfg(not(any(unix, windows)))]
    let _ = command;
}

fn for_each_line(pipe: Option<impl Read>, mut hear: impl FnMut(&str)) {
    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe);
    let mut line = vec![];
    loop {
        line.clear();
        // A line that is longer still comes in pieces.
        match lines.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => hear(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])),
        }
    }
}

/// Waits for the end of a process. `Child::wait` would hold the lock that `kill` needs, so this asks again and again.
fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    loop {
        match locked(child).try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => {}
            Err(_) => return None,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
