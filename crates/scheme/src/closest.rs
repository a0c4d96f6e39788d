//! Guesses which name was meant by one that is not known.

/// Longer names are no misspelling of a scheme, and comparing them takes time with their square.
const MOST_CHARS: usize = 200;

/// Most names that are listed as meant.
const MOST_NAMES: usize = 6;

/// Returns what completes a message about an unknown name: `; is `fp8` meant?`, or nothing where no
/// known name is close to it.
pub fn is_meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let going_on = going_on(name, &known);
    if going_on.len() > 1 {
        return format!("; is one of {} meant?", going_on.join(", "));
    }
    closest(name, known).map_or_else(String::new, |meant| format!("; is `{meant}` meant?"))
}

/// Returns the first known names that go on behind a dash where another one ends, as `int4-row` does behind `int4`.
fn going_on(name: &str, known: &[&str]) -> Vec<String> {
    let mut wanted = letters(name);
    wanted.push('-');
    let longer = known.iter().filter(|candidate| letters(candidate).starts_with(&wanted));
    longer.take(MOST_NAMES).map(|candidate| format!("`{candidate}`")).collect()
}

/// Returns the known name that is closest to another one, whatever its case: at most a third of the
/// letters differ, or it goes on behind the known name, as `fp8_e4m3fn` does.
fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = letters(name);
    // A third of the letters: `fp8-rwo` is near `fp8-row`, and `gguf` is near nothing.
    let limit = (wanted.len() / 3).max(1);
    let mut by_distance = None;
    let mut by_beginning: Option<&str> = None;
    for candidate in known {
        let letters = letters(candidate);
        if wanted.len().abs_diff(letters.len()) <= limit && wanted.len() <= MOST_CHARS {
            let distance = distance(&wanted, &letters);
            let is_closer = by_distance.is_none_or(|(closest, _)| distance < closest);
            if distance <= limit && is_closer {
                by_distance = Some((distance, candidate));
            }
        }
        // Only up to a dash: `fp88` is a slip of `fp8`, `fp8-e4m3fn` goes on behind it.
        let goes_on = wanted.strip_prefix(letters.as_slice());
        let goes_on = goes_on.is_some_and(|rest| rest.first().is_none_or(|char| *char == '-'));
        if goes_on && by_beginning.is_none_or(|longest| longest.len() < candidate.len()) {
            by_beginning = Some(candidate);
        }
    }
    // A name that differs in few letters is the better guess, since many names have the same
    // beginning.
    by_distance.map(|(_, candidate)| candidate).or(by_beginning)
}

fn letters(name: &str) -> Vec<char> {
    // One more than the limit, so that a longer name is still seen to be longer.
    let chars = name.chars().take(MOST_CHARS + 1);
    chars.flat_map(char::to_lowercase).map(|char| if char == '_' { '-' } else { char }).collect()
}

/// Counts letters that are put in, left out, exchanged, or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    // Three rows of the table do: a swap looks back by two, everything else by one.
    let mut rows = [vec![], (0..=b.len()).collect::<Vec<usize>>(), vec![]];
    for (i, left) in a.iter().enumerate() {
        let [before, last, row] = &mut rows;
        row.clear();
        row.push(i + 1);
        for (j, right) in b.iter().enumerate() {
            let exchanged = last[j] + usize::from(left != right);
            let mut least = exchanged.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_guessed_and_another_word_is_not() {
        let known = ["fp8", "fp8-row", "int8-row", "nvfp4", "mxfp8"];
        for (name, meant) in [
            ("fp8-rwo", Some("fp8-row")),
            ("FP8_ROW", Some("fp8-row")),
            ("int8-rows", Some("int8-row")),
            ("nvpf4", Some("nvfp4")),
            ("fp8_e4m3fn", Some("fp8")),
            ("fp88", Some("fp8")),
            ("gguf", None),
            ("", None),
        ] {
            assert_eq!(closest(name, known), meant, "{name}");
        }
        let several = ["fp8", "int4-row", "int4-asym", "int8"];
        assert_eq!(is_meant("INT4", several), "; is one of `int4-row`, `int4-asym` meant?");
        assert_eq!(is_meant("nvfp", known), "; is `nvfp4` meant?");
        assert_eq!(is_meant(&"x".repeat(1 << 20), known), "");
    }
}
