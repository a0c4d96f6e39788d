//! Numbers and names as people read them.

use std::time::Duration;

use console::measure_text_width;
use indicatif::{HumanBytes, HumanDuration};
use roundwise_convert::tensor_file::steers_text;

/// Formats a number of bytes: `1.23 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// Formats a duration: `0.43 s`, `2 minutes`.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.2} s")
    } else {
        HumanDuration(Duration::from_secs_f64(seconds)).to_string()
    }
}

/// Formats a count with its noun: `3 tensors`, `1 tensor`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Returns text from a file on one line, unable to steer the terminal: control characters and those
/// that reorder a line become escapes.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if steers_text(char) { shown.extend(char.escape_default()) } else { shown.push(char) }
    }
    shown
}

/// Returns a path as [`plain`] text.
pub(crate) fn path(path: &std::path::Path) -> String {
    plain(&path.to_string_lossy())
}

/// Formats a shape: `[1536, 384]`.
pub(crate) fn shape(sizes: &[u64]) -> String {
    format!("{sizes:?}")
}

/// Formats a relative error as a percentage with three digits: `2.64 %`.
pub(crate) fn percent(error: f64) -> String {
    let percent = error * 100.0;
    match percent {
        // An error relative to a weight of zeros.
        _ if !percent.is_finite() => "–".to_owned(),
        p if p >= 100.0 => format!("{p:.0} %"),
        p if p >= 10.0 => format!("{p:.1} %"),
        p if p >= 1.0 => format!("{p:.2} %"),
        p => format!("{p:.3} %"),
    }
}

/// Splits a text into lines of whole words, of at most `width` columns where the words allow it.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("begins with one line");
        if line.is_empty() {
            line.push_str(word);
        // In columns of a terminal, where colours take none and wide characters two.
        } else if measure_text_width(line) + 1 + measure_text_width(word) <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Breaks the lines of a text between words; continuations are indented by two more than their
/// line.
pub(crate) fn fold(text: &str, width: usize) -> String {
    let fold_line = |line: &str| {
        if measure_text_width(line) <= width {
            return line.to_owned();
        }
        let rest = line.trim_start_matches(' ');
        let indent = line.len() - rest.len();
        let lines = wrap(rest, width.saturating_sub(indent + 2)).into_iter();
        let indented = lines.enumerate().map(|(number, part)| {
            let more = if number == 0 { 0 } else { 2 };
            format!("{}{}", " ".repeat(indent + more), part.trim_end())
        });
        indented.collect::<Vec<_>>().join("\n")
    };
    text.split('\n').map(fold_line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        let text = "  one two three\nshort\n  averylongwordalone x";
        let folded = "  one two\n    three\nshort\n  averylongwordalone\n    x";
        assert_eq!(fold(text, 12), folded);
        assert_eq!(fold(text, usize::MAX), text);
    }
}
