use std::path::PathBuf;

use clap::Args;
use roundwise_convert::plan::Limits;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{Job, Recipe};

use super::RunOptions;
use super::size::parse_size;

/// How outputs are written.
#[derive(Debug, Args)]
pub(crate) struct WriteOptions {
    /// Replace an output file that exists; a folder is never replaced
    #[arg(long)]
    pub(crate) force: bool,
    /// Start over instead of continuing a run that was stopped
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Do not read the output again before it gets its name
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Write a folder of shards of at most this size (such as 5GB; a larger tensor has one to itself),
    /// with their index and what lies beside the input's shards, such as a tokenizer
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) shard_size: Option<u64>,
    /// Write what happened to every tensor as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

impl WriteOptions {
    pub(crate) fn limits(&self) -> Limits {
        Limits { shard_bytes: self.shard_size, ..Limits::default() }
    }

    /// Returns a job that writes as these flags say.
    pub(crate) fn job(
        &self,
        run: &RunOptions,
        input: PathBuf,
        output: PathBuf,
        recipe: Recipe,
    ) -> Job {
        Job {
            threads: run.threads(),
            limits: self.limits(),
            starts_over: self.fresh,
            overwrite: overwrite(self.force),
            verifies: !self.no_verify,
            hash_input: self.report.is_some(),
            ..Job::new(input, output, recipe)
        }
    }
}

/// Returns how to treat a file that already has an output's name.
pub(crate) fn overwrite(is_forced: bool) -> Overwrite {
    if is_forced { Overwrite::Replace } else { Overwrite::Refuse }
}
