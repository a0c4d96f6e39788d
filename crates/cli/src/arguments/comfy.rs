use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ComfyCommand {
    /// Write the folder of nodes into `custom_nodes`; those that convert need `pip install roundwise` too
    Install(ComfyInstallOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ComfyInstallOptions {
    /// Folder of ComfyUI, or its `custom_nodes`
    #[arg(value_name = "PATH")]
    pub(crate) comfyui: PathBuf,
    /// Replace nodes of another version
    #[arg(long)]
    pub(crate) force: bool,
}
