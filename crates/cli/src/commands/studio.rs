use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use roundwise_studio::{Begun, Setup, Studio, StudioError};

use crate::arguments::StudioOptions;
use crate::console::print;
use crate::stop::{self, Work};
use crate::text::path;

pub(crate) fn run(options: &StudioOptions) -> anyhow::Result<bool> {
    stop::listen(Work::Studio, false)?;
    let connection = SshConnection::here();
    let setup = Setup {
        state: state_folder(options.state.as_deref())?,
        program: std::env::current_exe().context("cannot find this program")?,
        start: options.path.as_deref().map(existing).transpose()?,
        port: options.port,
        // Under SSH the browser runs on another machine.
        opens_browser: !options.no_open && connection.is_none(),
    };
    let hint = match setup.opens_browser {
        true => "where no browser opens, open this address yourself; ",
        false => "",
    };
    match Studio::begin(setup).map_err(with_flag)? {
        Begun::Running { address } => print(&format!("the studio runs already: {address}"))?,
        Begun::First(studio) => {
            let forward = connection.map(|it| it.forward(studio.port())).unwrap_or_default();
            let address = studio.address();
            print(&format!(
                "roundwise studio: {address}\n{forward}  {hint}Ctrl-C ends it; jobs are kept"
            ))?;
            studio.serve(&|| stop::STOP.is_asked())?;
        }
    }
    Ok(true)
}

/// Says with which flag something else is named.
fn with_flag(error: StudioError) -> anyhow::Error {
    match error {
        StudioError::State { .. } => anyhow!("{error} with `--state FOLDER`"),
        StudioError::Port { .. } => anyhow!("{error} with `--port PORT`"),
        error => error.into(),
    }
}

fn existing(start: &Path) -> anyhow::Result<PathBuf> {
    if !start.exists() {
        bail!("{}: there is no such file or folder", path(start));
    }
    // The server wants absolute paths: it does not work in the user's folder.
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
        // Address and port of the client, then those under which it reached this machine.
        let mut words = text.split_whitespace().skip(2).map(str::to_owned);
        Some(Self { host: words.next()?, port: words.next()? })
    }

    /// The command that opens the page in a browser at the other end.
    fn forward(&self, port: u16) -> String {
        let ssh = match self.port.as_str() {
            "22" => String::new(),
            other => format!("-p {other} "),
        };
        format!("  from your own machine: ssh {ssh}-L {port}:127.0.0.1:{port} {}\n", self.host)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use roundwise_convert::RecipeFile;
    use roundwise_convert::rounding::{MethodOptions, SettingRange};
    use roundwise_convert::run::RunFile;
    use roundwise_studio::{JobKind, JobOrder, words_of};

    use super::*;
    use crate::arguments::{Arguments, Command};

    /// Every setting of a conversion.
    fn everything() -> RecipeFile {
        let mut text = String::from(
            "as = 'vae'\nnames = 'keep'\nscheme = 'int8-row'\nlayout = 'comfy'\nmethod = 'adaround'\nscale_rule = \
             'mse'\npreset = 'flux'\nkeep_distillation = true\nignore_base_list = true\nkeep = ['-a', \
             'b c']\ninclude = ['--x']\nrules = [{ pattern = 'a=b', scheme = 'fp8' }]\nfallback_scheme = \
             'fp8'\nfull_precision = ['z']\nmerge_lora = ['l.safetensors:-0.5']\nallow_unmatched_lora = \
             true\nmin_size = 7\nheuristic = 'basic'\nprovenance = false\n[method_options]\n",
        );
        for setting in MethodOptions::SETTINGS {
            text += &match setting.range {
                SettingRange::Names { names } => format!("{} = '{}'\n", setting.name, names[0]),
                SettingRange::Number { .. } => format!("{} = 1.25e-7\n", setting.name),
                SettingRange::Count { .. } => format!("{} = 3\n", setting.name),
            };
        }
        RecipeFile::from_toml(&text).unwrap()
    }

    #[test]
    fn the_command_of_a_job_says_every_setting() {
        let order = JobOrder {
            kind: JobKind::Convert,
            input: "/m.safetensors".into(),
            output: "/o.safetensors".into(),
            recipe: everything(),
            run: RunFile {
                threads: std::num::NonZeroUsize::new(3),
                memory_bytes: Some(1 << 33),
                shard_bytes: Some(5_000_000_000),
                device: Some("cpu".to_owned()),
                statistics: Some("/s.stats.safetensors".into()),
                allow_partial_statistics: true,
                verifies: Some(false),
                starts_over: true,
                extract_error_lora: std::num::NonZeroUsize::new(8),
            },
            replace: true,
            budget: None,
        };
        let words = words_of(&order, Path::new("/recipe.toml"));
        let Command::Convert(options) = Arguments::try_parse_from(&words).unwrap().command else {
            panic!("{words:?}")
        };
        let (recipe, _) = options.recipe.to_recipe_file(None).unwrap();
        assert_eq!(recipe, order.recipe);
        assert_eq!((&options.inputs, &options.output), (&vec![order.input], &Some(order.output)));
        let limits = options.limits();
        assert_eq!((limits.memory_bytes, limits.shard_bytes), (Some(1 << 33), Some(5_000_000_000)));
        let statistics = options.statistics.to_file().unwrap();
        assert_eq!(
            (statistics.path, statistics.allow_partial),
            ("/s.stats.safetensors".into(), true)
        );
        assert_eq!(options.run.threads().get(), 3);
        assert_eq!(options.device.unwrap().to_string(), "cpu");
        assert_eq!(options.extract_error_lora, order.run.extract_error_lora);
        let write = options.write;
        assert!(write.force && write.fresh && write.no_verify);
    }
}
