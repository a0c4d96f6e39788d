use clap::CommandFactory;

use crate::arguments::{Arguments, CompletionsOptions};
use crate::console::print_as_it_is;

pub(crate) fn run(options: &CompletionsOptions) -> anyhow::Result<bool> {
    let mut script = vec![];
    clap_complete::generate(options.shell, &mut Arguments::command(), "roundwise", &mut script);
    print_as_it_is(&String::from_utf8(script)?)?;
    Ok(true)
}
