use std::io;
use std::path::PathBuf;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudioError {
    /// The folder that jobs are remembered in cannot be used.
    #[error("{}: cannot be used to remember jobs: {source}\n  name a folder that takes files", .path.display())]
    State {
        /// The folder, or a file in it.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The port that was asked for is taken.
    #[error(
        "port {port} of 127.0.0.1 cannot be used: {source}\n  where none is named the next free one is taken; or name another"
    )]
    Port {
        /// The port.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
    /// Another studio uses the folder, and does not answer.
    #[error("another studio uses {}, and does not answer: {source}\n  end it first", .path.display())]
    Silent {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system gives no random numbers, without which there is no key.
    #[error("the system gives no random numbers: {problem}")]
    NoRandom {
        /// The message.
        problem: String,
    },
    /// The server failed.
    #[error("the server failed: {0}")]
    Server(#[from] io::Error),
}
