use roundwise_convert::install_nodes;

use crate::arguments::{ComfyCommand, ComfyInstallOptions, overwrite};
use crate::console::print;
use crate::text::path;

pub(crate) fn run(command: &ComfyCommand) -> anyhow::Result<bool> {
    match command {
        ComfyCommand::Install(ComfyInstallOptions { comfyui, force }) => {
            let folder = install_nodes(comfyui, overwrite(*force))?;
            print(&format!("{}: restart ComfyUI; the nodes are under `roundwise`", path(&folder)))?;
        }
    }
    Ok(true)
}
