use clap::Args;
use roundwise_convert::rounding::{METHODS, MethodOptions};

/// How codes are chosen. What is left out has the method's own default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Learned rounding")]
pub(crate) struct MethodFlags {
    #[arg(long, value_name = "METHOD", visible_alias = "rounding", help = method_help())]
    pub(crate) method: Option<String>,
    #[command(flatten)]
    pub(crate) options: MethodOptions,
}

fn method_help() -> String {
    let names = METHODS.iter().map(|method| method.name);
    choices("How codes are chosen", names) + " [default: nearest; with --stats activations]"
}

/// Returns a help text: `What it is: one, another, a third`.
pub(crate) fn choices(what: &str, names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    format!("{what}: {}", names.join(", "))
}
