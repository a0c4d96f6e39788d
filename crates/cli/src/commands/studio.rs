use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use roundwise_studio::{Begun, Setup, Studio};

use crate::arguments::StudioOptions;
use crate::console::print;
use crate::stop;
use crate::text::path;

pub(crate) fn run(options: &StudioOptions) -> anyhow::Result<bool> {
    stop::listen_with("stopping; what is finished is kept; press Ctrl-C again to quit at once")?;
    let connection = SshConnection::here();
    let setup = Setup {
        state: state_folder(options.state.as_deref())?,
        program: std::env::current_exe().context("cannot find this program")?,
        start: options.path.as_deref().map(existing).transpose()?,
        port: options.port,
        // Under SSH the browser is elsewhere.
        opens_browser: !options.no_open && connection.is_none(),
    };
    match Studio::begin(setup)? {
        Begun::Running { address } => print(&format!("the studio runs already: {address}"))?,
        Begun::First(studio) => {
            let forward = connection.map(|it| it.forward(studio.port())).unwrap_or_default();
            let address = studio.address();
            print(&format!(
                "roundwise studio: {address}\n{forward}  Ctrl-C ends it; jobs are kept"
            ))?;
            studio.serve(&|| stop::STOP.is_asked())?;
        }
    }
    Ok(true)
}

fn existing(start: &Path) -> anyhow::Result<PathBuf> {
    if !start.exists() {
        bail!("{}: there is no such file or folder", path(start));
    }
    Ok(std::path::absolute(start)?)
}

fn state_folder(chosen: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(chosen) = chosen {
        return Ok(std::path::absolute(chosen)?);
    }
    match dirs::state_dir().or_else(dirs::data_local_dir) {
        Some(folder) => Ok(folder.join("roundwise").join("studio")),
        None => bail!(
            "there is no home folder to remember jobs in\n  name a folder with `--state FOLDER`"
        ),
    }
}

/// The connection that this terminal came through.
struct SshConnection {
    host: String,
    port: String,
}

impl SshConnection {
    fn here() -> Option<Self> {
        let text = std::env::var("SSH_CONNECTION").ok()?;
        let mut words = text.split_whitespace().skip(2).map(str::to_owned);
        Some(Self { host: words.next()?, port: words.next()? })
    }

    /// What makes the page open in a browser at the other end.
    fn forward(&self, port: u16) -> String {
        let ssh = match self.port.as_str() {
            "22" => String::new(),
            other => format!("-p {other} "),
        };
        format!("  from your own machine: ssh {ssh}-L {port}:127.0.0.1:{port} {}\n", self.host)
    }
}
