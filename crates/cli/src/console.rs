use std::io::Write;

use console::style;

/// Writes a text to standard output; a closed pipe is an error, not a panic.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Prints a value as JSON for programs.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print(&serde_json::to_string_pretty(value)?)?)
}

/// `error:`, red on a terminal.
pub(crate) fn error_label() -> String {
    style("error:").red().bold().for_stderr().to_string()
}

/// Width of the terminal, or a width that reads well in a file.
pub(crate) fn width() -> usize {
    const WIDTH_IN_A_FILE: usize = 120;
    match console::Term::stdout().size_checked() {
        Some((_, columns)) => usize::from(columns),
        None => WIDTH_IN_A_FILE,
    }
}
