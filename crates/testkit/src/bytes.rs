//! Bytes as people read them.

/// Returns the bytes that a string of hexadecimal digits names; white space is skipped.
///
/// # Panics
/// When there is another character or half a byte.
pub fn hex(digits: &str) -> Vec<u8> {
    let digit = |character: char| {
        character.to_digit(16).unwrap_or_else(|| panic!("`{character}` in hex `{digits}`")) as u8
    };
    let halves: Vec<u8> =
        digits.chars().filter(|character| !character.is_whitespace()).map(digit).collect();
    let (pairs, rest) = halves.as_chunks::<2>();
    assert!(rest.is_empty(), "half a byte in hex `{digits}`");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Returns lower-case hexadecimal digits of `bytes`, the reverse of [`hex`].
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Panics with the surroundings of the first difference, and the number of differences, when the
/// bytes are not the same.
///
/// ```text
/// 2 bytes differ, the first at 17 (0x11)
/// actual:   fe e2 fa fb f7 75 e2 e2  00[01]02 03
/// expected: fe e2 fa fb f7 75 e2 e2  00[7f]02 03
/// ```
#[track_caller]
pub fn assert_equal_bytes(actual: &[u8], expected: &[u8]) {
    if let Some(difference) = difference(actual, expected) {
        panic!("{difference}");
    }
}

/// Returns the message of [`assert_equal_bytes`]; `None` when the bytes are the same.
pub fn difference(actual: &[u8], expected: &[u8]) -> Option<String> {
    let differs = |at: &usize| actual.get(*at) != expected.get(*at);
    let longest = actual.len().max(expected.len());
    let first = (0..longest).find(differs)?;
    let count = (first..longest).filter(differs).count();
    let verb = if count == 1 { "byte differs" } else { "bytes differ" };
    let mut message = format!("{count} {verb}, the first at {first} ({first:#x})");
    if actual.len() != expected.len() {
        message += &format!("; {} bytes instead of {}", actual.len(), expected.len());
    }
    message += &format!("\nactual:   {}", line(actual, first));
    message += &format!("\nexpected: {}", line(expected, first));
    Some(message)
}

/// Formats up to 32 bytes, aligned to 8, around `mark`, which stands in brackets.
fn line(bytes: &[u8], mark: usize) -> String {
    let start = mark.saturating_sub(8) / 8 * 8;
    let mut text = String::from(if start > 0 { "… " } else { "" });
    for at in start..start + 32 {
        let Some(byte) = bytes.get(at) else {
            return text + if at <= mark { "[end]" } else { "" };
        };
        text += &if at == mark { format!("[{byte:02x}]") } else { format!(" {byte:02x} ") };
    }
    if start + 32 < bytes.len() { text + " …" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_back() {
        assert_eq!(hex("fe E2\n0f"), [0xFE, 0xE2, 0x0F]);
        assert_eq!(to_hex(&hex("00ff10")), "00ff10");
        assert_eq!(hex(""), [0u8; 0]);
    }

    #[test]
    #[should_panic(expected = "half a byte")]
    fn half_a_byte_is_refused() {
        hex("fe2");
    }

    #[test]
    fn the_first_difference_is_marked() {
        let message = difference(&[1, 2, 3, 4], &[1, 2, 9, 9]).unwrap();
        assert!(message.contains("2 bytes differ, the first at 2 (0x2)"), "{message}");
        assert!(message.contains("actual:    01  02 [03] 04"), "{message}");
        assert!(message.contains("expected:  01  02 [09] 09"), "{message}");
    }

    #[test]
    fn a_missing_tail_is_a_difference() {
        let message = difference(&[1], &[1, 2]).unwrap();
        assert!(message.contains("1 byte differs, the first at 1"), "{message}");
        assert!(message.contains("1 bytes instead of 2"), "{message}");
        assert!(message.contains("actual:    01 [end]"), "{message}");
        assert!(difference(&[], &[]).is_none());
    }
}
