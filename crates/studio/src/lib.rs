//! A local web page over conversions: one server on 127.0.0.1, one page, one job at a time.
//!
//! Looking at files and planning happens in this process, which reads headers, and one layer at a
//! time for its picture. Work is done by processes of the program that serves the page: what runs
//! out of memory leaves the page up, and what is stopped or killed goes on from its journal.
//! `docs/studio.md` lists what the server is asked and answers.
//!
//! ```no_run
//! use roundwise_studio::{Begun, Setup, Studio};
//!
//! let setup = Setup {
//!     state: "/home/me/.local/state/roundwise/studio".into(),
//!     program: std::env::current_exe()?,
//!     start: None,
//!     port: None,
//!     opens_browser: true,
//! };
//! match Studio::begin(setup)? {
//!     Begun::First(studio) => studio.serve(&|| false)?,
//!     Begun::Running { address } => println!("runs already: {address}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod browser;
mod call;
mod command;
mod door;
mod error;
mod events;
mod heard;
mod job;
mod key;
mod ledger;
mod neighbour;
mod order;
mod page;
mod queue;
mod rates;
mod routes;
mod saved;
mod sources;
mod state;
mod stream;
mod studio;
mod worker;

pub use self::command::words_of;
pub use self::error::StudioError;
pub use self::job::{JobKind, JobOrder};
pub use self::saved::{PageError, report_page};
pub use self::studio::{Begun, Setup, Studio};
