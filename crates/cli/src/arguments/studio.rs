use std::path::PathBuf;

use clap::Args;

use super::FORCE;

#[derive(Debug, Args)]
pub(crate) struct StudioOptions {
    /// Weight file or folder that the page begins with [default: where it was left]
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// Port of 127.0.0.1 to listen on [default: 8642, or the next one that is free]
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    pub(crate) port: Option<u16>,
    /// Do not open a browser; the address is printed
    #[arg(long)]
    pub(crate) no_open: bool,
    /// Folder that jobs are remembered in [default: roundwise/studio in the user's folder for state]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("expected a whole number up to {}", u16::MAX))
}

#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// One report, or two that are compared
    #[arg(required = true, num_args = 1..=2, value_name = "REPORT")]
    pub(crate) reports: Vec<PathBuf>,
    /// File to write, one page that opens offline [default: beside the first report, `.html`]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[arg(long, help = FORCE)]
    pub(crate) force: bool,
}
