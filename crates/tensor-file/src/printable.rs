//! Untrusted text, made fit to be shown on a terminal.

/// Returns whether a character does something else than to be seen: controls, marks that reorder the line that they are
/// shown in, separators of lines, and what has no width.
pub fn steers_text(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Makes untrusted text fit to be shown on a terminal: no [characters that steer](steers_text), at most 300 characters.
pub fn printable(text: &str) -> String {
    const LIMIT_CHARS: usize = 300;
    let mut shown = String::new();
    for char in text.chars().take(LIMIT_CHARS) {
        match char {
            char if steers_text(char) => shown.extend(char.escape_default()),
            char => shown.push(char),
        }
    }
    if text.chars().nth(LIMIT_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Lists the first few names, fit to be shown.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut list: Vec<String> = names.iter().take(SHOWN).map(|name| printable(name)).collect();
    if names.len() > SHOWN {
        list.push("…".into());
    }
    list.join(", ")
}
