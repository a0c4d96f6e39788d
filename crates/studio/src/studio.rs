use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::browser;
use crate::error::StudioError;
use crate::job::{Failure, JobState};
use crate::key::{Codes, Key};
use crate::ledger::Ledger;
use crate::neighbour;
use crate::routes;
use crate::sources::Sources;
use crate::state::{Address, StateFolder};
use crate::stream::Streams;
use crate::worker::Worker;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Folder that jobs are remembered in, made where it is not there.
    pub state: PathBuf,
    /// The program that does the work; its commands are those of `roundwise`.
    pub program: PathBuf,
    /// File or folder that the page begins with.
    pub start: Option<PathBuf>,
    /// Port to listen on; `None` for 8642, or the next one that is free.
    pub port: Option<u16>,
    /// Whether the page is opened in a browser.
    pub opens_browser: bool,
}

/// A server, or one that is there already.
pub enum Begun {
    /// This one.
    First(Studio),
    /// Another one remembers its jobs in the same folder. It was asked to open a page.
    Running {
        /// Where it is found, with its key.
        address: String,
    },
}

/// A server that listens, and answers once it is told to serve.
pub struct Studio {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// State that all requests share.
pub(crate) struct Shared {
    pub(crate) key: Key,
    pub(crate) codes: Mutex<Codes>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) streams: Mutex<Streams>,
    pub(crate) sources: Sources,
    /// Folders that were listed: dropped files are looked for there.
    pub(crate) shown: Mutex<BTreeSet<PathBuf>>,
    pub(crate) state: StateFolder,
    pub(crate) program: PathBuf,
    pub(crate) start: Option<PathBuf>,
    pub(crate) port: u16,
    opens_browser: bool,
}

/// Tried first, then the ports after it, `PORTS` in all, then any that is free.
const PORT: u16 = 8642;
const PORTS: u16 = 20;

/// Between two looks at whether to end.
const PAUSE: Duration = Duration::from_millis(50);

/// Time for a server that ends to let go of its folder in: it stops listening first.
const ENDING: Duration = Duration::from_secs(2);

/// Time for a worker to stop in before it is ended.
const GRACE: Duration = Duration::from_secs(10);

/// Takes a lock. A thread that failed while it held it leaves what it was about to change.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Studio {
    /// Listens on 127.0.0.1, or finds the server that is there already.
    ///
    /// # Errors
    /// [`StudioError::State`], [`StudioError::Port`], [`StudioError::Silent`],
    /// [`StudioError::NoRandom`].
    pub fn begin(setup: Setup) -> Result<Begun, StudioError> {
        let give_up = Instant::now() + ENDING;
        let state = loop {
            if let Some(state) = StateFolder::open(&setup.state)? {
                break state;
            }
            match neighbour::ask(&setup) {
                Ok(address) => return Ok(Begun::Running { address }),
                Err(StudioError::Silent { .. }) if Instant::now() < give_up => {
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        };
        // The folder is locked before the address is written: a second server that finds the lock may ask for it.
        let listener = listen(setup.port)?;
        let port = listener.local_addr()?.port();
        let key = Key::new()?;
        state.tell_address(&Address { port, key: key.text().to_owned() })?;
        let shared = Shared {
            key,
            codes: Mutex::default(),
            ledger: Mutex::new(Ledger::open(&state)),
            streams: Mutex::default(),
            sources: Sources::default(),
            shown: Mutex::default(),
            state,
            program: setup.program,
            start: setup.start,
            port,
            opens_browser: setup.opens_browser,
        };
        Ok(Begun::First(Self { listener, shared: Arc::new(shared) }))
    }

    /// Returns the address of the page, with its key.
    #[must_use]
    pub fn address(&self) -> String {
        self.shared.address()
    }

    /// Returns the port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// Opens the page where a browser is wanted, and answers requests until it is told to end. What
    /// runs then is stopped, and remembered as interrupted.
    ///
    /// - `is_stopped`: asked every now and then
    ///
    /// # Errors
    /// [`StudioError::Server`].
    pub fn serve(self, is_stopped: &dyn Fn() -> bool) -> Result<(), StudioError> {
        let Self { listener, shared } = self;
        // One thread for one user; what waits has threads of its own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        shared.advance();
        if shared.opens_browser {
            shared.open_page(shared.start());
        }
        let served = runtime.block_on(async {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let server = axum::serve(listener, routes::router(&shared)).into_future();
            tokio::select! {
                result = server => result,
                () = told_to_end(is_stopped) => Ok(()),
            }
        });
        shared.close();
        // Open streams have no end of their own.
        runtime.shutdown_background();
        Ok(served?)
    }
}

async fn told_to_end(is_stopped: &dyn Fn() -> bool) {
    while !is_stopped() {
        tokio::time::sleep(PAUSE).await;
    }
}

/// # Errors
/// Where the port that was asked for is taken, or no port is free.
fn listen(port: Option<u16>) -> Result<TcpListener, StudioError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = port {
        return bind(port).map_err(|source| StudioError::Port { port, source });
    }
    let free = (PORT..PORT + PORTS).find_map(|port| bind(port).ok());
    // Port 0 stands for any that is free.
    free.map_or_else(|| Ok(bind(0)?), Ok)
}

impl Shared {
    /// The address of the page, with its key.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/#key={}", self.port, self.key.text())
    }

    /// The path that the page begins with.
    pub(crate) fn start(&self) -> Option<String> {
        self.start.as_ref().map(|path| path.to_string_lossy().into_owned())
    }

    /// Opens the page in a browser. That there is none is no error: the terminal has the address.
    pub(crate) fn open_page(&self, start: Option<String>) {
        let Ok(code) = locked(&self.codes).make(start) else { return };
        let address = format!("http://127.0.0.1:{}/#once={code}", self.port);
        // On a thread of its own: on some systems the opener ends only with the browser.
        std::thread::spawn(move || browser::open(&address));
    }

    /// Starts the next job, if one is to be started.
    pub(crate) fn advance(self: &Arc<Self>) {
        // The ledger is free while a process is started, and a job that cannot start must not keep
        // the next from it.
        loop {
            let id = {
                let mut ledger = locked(&self.ledger);
                if ledger.is_closing {
                    return;
                }
                let Some(id) = ledger.queue.next() else { return };
                if let Some(job) = ledger.queue.get_mut(id) {
                    job.live.begin();
                    job.record.has_report = false;
                }
                ledger.set_state(&self.state, id, JobState::Running, None);
                ledger.tell_queue(&self.state);
                id
            };
            match self.begin_work(id) {
                Ok(worker) => return self.keep(id, worker),
                Err(failure) => {
                    let mut ledger = locked(&self.ledger);
                    ledger.set_state(&self.state, id, JobState::Failed, Some(failure));
                    ledger.tell_queue(&self.state);
                }
            }
        }
    }

    /// Keeps a worker that was just started, unless something happened to its job meanwhile.
    fn keep(&self, id: u64, mut worker: Worker) {
        let mut ledger = locked(&self.ledger);
        match ledger.queue.get(id).map(|job| job.record.state) {
            // The worker is dropped here, which stops it.
            _ if ledger.is_closing => {}
            Some(JobState::Running) => ledger.worker = Some(worker),
            Some(JobState::Stopping) => {
                worker.stop();
                ledger.worker = Some(worker);
            }
            // It has ended already.
            _ => {}
        }
    }

    /// Looks once more whether there is room, and starts the worker.
    fn begin_work(self: &Arc<Self>, id: u64) -> Result<Worker, Failure> {
        let room = {
            let ledger = locked(&self.ledger);
            ledger.queue.get(id).and_then(|job| routes::new_job::too_little_room(&job.record))
        };
        if let Some(refusal) = room {
            let (kind, message, help) = refusal.parts();
            return Err(Failure { kind, message, help, unfinished_files: vec![] });
        }
        Worker::start(self, id).map_err(|error| Failure {
            kind: "start".to_owned(),
            message: format!("{}: cannot be started: {error}", self.program.display()),
            help: "Start the studio again: the program may have been replaced.".to_owned(),
            unfinished_files: vec![],
        })
    }

    /// Stops what runs, and waits for its end.
    fn close(&self) {
        let worker = {
            let mut ledger = locked(&self.ledger);
            ledger.is_closing = true;
            ledger.worker.take()
        };
        let Some(mut worker) = worker else { return };
        worker.stop();
        let since = Instant::now();
        let mut is_killed = false;
        // The second half of the time is for hearing the end of a worker that was killed.
        while self.is_at_work() && since.elapsed() < GRACE * 2 {
            if since.elapsed() > GRACE && !is_killed {
                worker.kill();
                is_killed = true;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn is_at_work(&self) -> bool {
        let ledger = locked(&self.ledger);
        ledger.queue.shown().first().is_some_and(|job| job.record.state.is_active())
    }
}
