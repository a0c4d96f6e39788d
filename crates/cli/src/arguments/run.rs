use std::num::NonZeroUsize;

use clap::Args;
use roundwise_convert::run::RunFile;

/// How a command runs; never changes what it computes.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Threads to use; does not change the output [default: all cores]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
}

impl RunOptions {
    /// Returns the number of tensors in flight at once.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        RunFile { threads: self.threads, ..RunFile::default() }.threads()
    }
}

fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(threads) if threads.get() <= RunFile::MOST_THREADS => Ok(threads),
        _ => Err(format!("expected a number from 1 to {}", RunFile::MOST_THREADS)),
    }
}
