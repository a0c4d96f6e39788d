/// Parses `5GB`, `512MiB`, or bytes, with `B` or without a unit.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text[digits.len()..]));
    // A fraction is allowed, as in `1.5GB`.
    let number = digits.trim().parse::<f64>().ok().filter(|number| *number > 0.0);
    match (number, unit) {
        (Some(number), Some((_, factor))) if (number * *factor as f64) >= 1.0 => {
            // Rounded down, so that a limit is never above what was typed.
            Ok((number * *factor as f64) as u64)
        }
        _ => Err("expected a size such as 5GB or 512MiB".to_owned()),
    }
}
