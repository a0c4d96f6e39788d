use anyhow::Context;
use clap::CommandFactory;

use crate::arguments::{Arguments, ManualOptions};

/// Writes `roundwise.1`, `roundwise-convert.1` and so on, from the flags themselves.
pub(crate) fn run(options: &ManualOptions) -> anyhow::Result<bool> {
    let folder = &options.folder;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
        .with_context(|| format!("{}: cannot write the manual", folder.display()))?;
    Ok(true)
}
