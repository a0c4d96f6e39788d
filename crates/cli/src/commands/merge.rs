use roundwise_convert::run::merge;

use crate::arguments::{MergeOptions, overwrite};
use crate::console::print;
use crate::progress::Progress;
use crate::stop::{self, Work};
use crate::text::{bytes, counted, path};

pub(crate) fn run(options: &MergeOptions) -> anyhow::Result<bool> {
    stop::listen(Work::Joining, options.quiet)?;
    let progress = Progress::new(&options.output, options.quiet);
    let merged = merge(&options.parts, &options.output, overwrite(options.force), &progress);
    progress.finish();
    let merged = merged?;
    if !options.quiet {
        print(&format!(
            "{}: {} of {}, {}\n",
            path(&options.output),
            counted(merged.tensors, "tensor"),
            counted(options.parts.len(), "part"),
            bytes(merged.bytes),
        ))?;
    }
    Ok(true)
}
