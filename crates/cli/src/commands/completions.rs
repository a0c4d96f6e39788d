use clap::CommandFactory;

use crate::arguments::{Arguments, CompletionsOptions};
use crate::console::print;

pub(crate) fn run(options: &CompletionsOptions) -> anyhow::Result<bool> {
    let mut script = vec![];
    clap_complete::generate(options.shell, &mut Arguments::command(), "roundwise", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(true)
}
