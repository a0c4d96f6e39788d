use std::fs;

use serde::{Deserialize, Serialize};

/// The machine that measured.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Processor as it names itself.
    pub(crate) cpu: String,
    /// Cores that a program may use.
    pub(crate) cores: usize,
    /// Installed memory, GiB.
    pub(crate) memory_gib: f64,
    /// Operating system and instruction set.
    pub(crate) platform: String,
}

impl Machine {
    /// This machine. What the system does not tell is `unknown` or 0.
    pub(crate) fn here() -> Self {
        let kib = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<f64>().ok());
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get()),
            memory_gib: kib.map_or(0.0, |kib| (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// Returns the value of the first `key : value` line of a file.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
