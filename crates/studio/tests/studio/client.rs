use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use roundwise_studio::{Begun, Setup, Studio};
use serde_json::Value;
use tempfile::TempDir;

/// A server with a folder of its own, ended when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) key: String,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn setup(state: &Path, program: PathBuf) -> Setup {
    Setup { state: state.to_owned(), program, start: None, port: Some(0), opens_browser: false }
}

/// A server that was here before may hold the folder for a moment: processes that other tests start
/// at the same time have its files open until they are programs of their own.
fn begin(setup: Setup) -> Studio {
    for _ in 0..500 {
        if let Begun::First(studio) = Studio::begin(setup.clone()).unwrap() {
            return studio;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no server");
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Server {
    /// A server that starts no workers.
    pub(crate) fn idle() -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let server = Self::start(setup(&folder.path().join("state"), "/nothing".into()));
        (server, folder)
    }

    pub(crate) fn start(setup: Setup) -> Self {
        let studio = begin(setup);
        let port = studio.port();
        let key = studio.address().split_once("#key=").unwrap().1.to_owned();
        let ends = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ends);
        let serve = move || studio.serve(&|| asked.load(Ordering::Relaxed)).unwrap();
        Self { port, key, ends, thread: Some(std::thread::spawn(serve)) }
    }

    /// Ends the server as Ctrl-C does.
    pub(crate) fn end(mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }

    /// Sends these very bytes.
    pub(crate) fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // A refusal may come before the request has arrived whole.
        let _ = stream.write_all(request.as_bytes());
        let mut bytes = vec![];
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn headers(&self) -> String {
        format!(
            "Host: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n",
            self.port, self.key
        )
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.raw(&format!("GET {path} HTTP/1.1\r\n{}\r\n", self.headers()))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let headers = self.headers();
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\n{headers}Content-Type: application/json\r\nContent-Length: \
             {length}\r\n\r\n{body}"
        ))
    }

    /// Lines of events, as they come; silence is left out.
    pub(crate) fn events(&self, after: u64) -> impl Iterator<Item = Value> + use<> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // Without chunks, as HTTP 1.0 has none.
        let headers = self.headers();
        write!(stream, "GET /api/events?after={after} HTTP/1.0\r\n{headers}\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let lines = lines.filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(&line).unwrap())
    }

    /// Waits until a job is in a state.
    #[track_caller]
    pub(crate) fn wait_for(&self, id: &str, state: &str) -> Value {
        let since = Instant::now();
        loop {
            let job = self.get(&format!("/api/jobs/{id}")).json();
            if job["state"] == state {
                return job;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{state}: {job}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}
