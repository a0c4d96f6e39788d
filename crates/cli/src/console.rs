use std::io::{ErrorKind, Write};

use console::style;

use crate::text::{fold, plain};

/// Prints as [`print_as_it_is`], with lines that are too long for the terminal broken between
/// words.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    print_as_it_is(&fold(text, width()))
}

/// Writes a text to standard output. A reader that stops early (`… | head`) changes neither the work
/// nor the exit code.
pub(crate) fn print_as_it_is(text: &str) -> std::io::Result<()> {
    match write_line(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Prints a text about work that is done. A failure to print does not undo the work, so it is a
/// warning.
pub(crate) fn tell(text: &str) {
    if let Err(error) = print(text) {
        complain(format_args!("{} cannot write to standard output: {error}", warning()));
    }
}

fn warning() -> console::StyledObject<&'static str> {
    style("warning:").yellow().bold().for_stderr()
}

fn write_line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    // Flushed here, where a failure can be reported; at the end of the program it would be lost.
    out.flush()
}

/// Prints a value as JSON for programs.
///
/// # Errors
/// When it does not arrive whole: to a program, half an answer is none.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    write_line(&serde_json::to_string_pretty(value)?).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => anyhow::anyhow!("cannot write to standard output: {error}"),
    })
}

/// Nobody reads standard output any more. Only the exit code says so, since half an answer is none: a reader such as
/// `head` has all that it wanted, and a message would only disturb its output.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for ReaderGone {}

/// Writes an error to standard error, its label red on a terminal.
pub(crate) fn print_error(error: &anyhow::Error) {
    // Library errors carry the text of their cause, so the chain is not printed as well.
    let lines: Vec<String> = error.to_string().lines().map(plain).collect();
    let text = format!("{} {}", style("error:").red().bold().for_stderr(), lines.join("\n"));
    complain(format_args!("{}", fold(&text, width_of(&console::Term::stderr()))));
}

/// Returns the width of the terminal; in a file or a pipe nothing is cut.
pub(crate) fn width() -> usize {
    width_of(&console::Term::stdout())
}

/// Returns the width of sentences: the terminal's; a file or a pipe has none, and gets that of help texts.
pub(crate) fn width_of_prose() -> usize {
    // As `max_term_width` has it for help texts.
    const WIDTH_OF_HELP: usize = 100;
    match width() {
        usize::MAX => WIDTH_OF_HELP,
        width => width,
    }
}

fn width_of(terminal: &console::Term) -> usize {
    terminal.size_checked().map_or(usize::MAX, |(_, columns)| usize::from(columns))
}

/// Writes a line to standard error. A failure is ignored, since there is no place left to report it.
pub(crate) fn complain(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
