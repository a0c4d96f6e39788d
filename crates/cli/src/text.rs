//! Numbers and names as people read them.

use indicatif::{HumanBytes, HumanDuration};
use std::time::Duration;

/// `1.23 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// `0.43 s`, `2 minutes`.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.2} s")
    } else {
        HumanDuration(Duration::from_secs_f64(seconds)).to_string()
    }
}

/// `3 tensors`, `1 tensor`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Text from a file on one line, unable to steer the terminal: control characters and those that
/// reorder a line are shown as escapes.
pub(crate) fn plain(text: &str) -> String {
    let steers = |char: char| {
        char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if steers(char) { shown.extend(char.escape_default()) } else { shown.push(char) }
    }
    shown
}

/// A path as [`plain`] text.
pub(crate) fn path(path: &std::path::Path) -> String {
    plain(&path.to_string_lossy())
}

/// `[1536, 384]`.
pub(crate) fn shape(sizes: &[u64]) -> String {
    format!("{sizes:?}")
}

/// A relative error as a percentage with three digits: `2.64 %`.
pub(crate) fn percent(error: f64) -> String {
    let percent = error * 100.0;
    match percent {
        _ if !percent.is_finite() => "–".to_owned(),
        p if p >= 100.0 => format!("{p:.0} %"),
        p if p >= 10.0 => format!("{p:.1} %"),
        p if p >= 1.0 => format!("{p:.2} %"),
        p => format!("{p:.3} %"),
    }
}
