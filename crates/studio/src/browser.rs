//! The user's browser, as each system opens it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// An opener that fails after this time was a browser that ran for a while.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Opens an address in the browser, and waits for the opener to end. A missing browser is no error: the terminal
/// shows the address.
///
/// - `address`: of this server, without characters that a shell reads
pub(crate) fn open(address: &str) {
    for words in openers(&Desktop::here()) {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let since = Instant::now();
        if command.status().is_ok_and(|status| status.success() || since.elapsed() > AT_ONCE) {
            return;
        }
    }
}

/// What decides how a browser is opened.
struct Desktop {
    system: &'static str,
    /// Whether Linux runs inside Windows, whose browser it is then.
    is_wsl: bool,
    /// Programs that the user names in `BROWSER`, the first one first.
    chosen: Option<String>,
}

impl Desktop {
    fn here() -> Self {
        Self {
            system: std::env::consts::OS,
            is_wsl: std::env::var_os("WSL_DISTRO_NAME").is_some(),
            chosen: std::env::var("BROWSER").ok(),
        }
    }
}

/// Commands that open the address behind them, the first one first.
fn openers(desktop: &Desktop) -> Vec<Vec<String>> {
    // A program of its own: `start` is a command of a shell, which would read the address.
    let windows = ["rundll32.exe", "url.dll,FileProtocolHandler"].as_slice();
    let linux =
        [["xdg-open"].as_slice(), &["gio", "open"], &["sensible-browser"], &["x-www-browser"]];
    let known: Vec<&[&str]> = match desktop.system {
        "windows" => vec![windows],
        "macos" => vec![&["open"]],
        _ if desktop.is_wsl => [["wslview"].as_slice(), windows].into_iter().chain(linux).collect(),
        _ => linux.to_vec(),
    };
    let known =
        known.into_iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect());
    // A name with arguments of its own is left to `xdg-open`, which reads `BROWSER` too and parses them.
    let chosen = desktop.chosen.iter().flat_map(|names| names.split(':'));
    let chosen = chosen.filter(|name| !name.is_empty() && !name.contains(['%', ' ']));
    chosen.map(|name| vec![name.to_owned()]).chain(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(system: &'static str, is_wsl: bool, chosen: Option<&str>) -> String {
        let desktop = Desktop { system, is_wsl, chosen: chosen.map(str::to_owned) };
        openers(&desktop)[0].join(" ")
    }

    #[test]
    fn every_system_has_its_own_way_and_the_user_goes_first() {
        assert_eq!(first("linux", false, None), "xdg-open");
        assert_eq!(first("freebsd", false, None), "xdg-open");
        assert_eq!(first("linux", true, None), "wslview");
        assert_eq!(first("macos", false, None), "open");
        assert_eq!(first("windows", false, None), "rundll32.exe url.dll,FileProtocolHandler");
        assert_eq!(first("linux", false, Some("firefox:chromium")), "firefox");
        assert_eq!(first("linux", false, Some("lynx %s:")), "xdg-open");
    }
}
