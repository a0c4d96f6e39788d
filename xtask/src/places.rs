//! Promises of `docs/architecture.md`, which says in which files a thing is written, and of `docs/glossary.md`,
//! which says what it is called.

use std::path::{Path, PathBuf};

use crate::workspace::Workspace;

/// Returns every Rust source of the workspace outside tests and goldens, except this file.
fn sources() -> Vec<(PathBuf, String)> {
    let workspace = Workspace::here();
    let mut folders = vec![workspace.path("crates"), workspace.path("xtask/src")];
    let mut sources = vec![];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("golden") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let inside = path.strip_prefix(workspace.path("")).unwrap().to_owned();
                if inside != Path::new("xtask/src/places.rs") {
                    sources.push((inside, std::fs::read_to_string(path).unwrap()));
                }
            }
        }
    }
    sources
}

fn files_with(words: &[&str]) -> Vec<PathBuf> {
    let has_one = |text: &str| words.iter().any(|word| text.contains(word));
    let mut files: Vec<PathBuf> =
        sources().into_iter().filter(|(_, text)| has_one(text)).map(|(path, _)| path).collect();
    files.sort();
    files
}

/// The flags in a line of source that is no comment, but for those of llama.cpp's programs.
fn flags_in(line: &str) -> Vec<&str> {
    if line.trim_start().starts_with("//") || line.contains("`llama-") {
        return vec![];
    }
    let begins = |at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|char| " `('\"[".contains(char))
            && line[at + 2..].starts_with(|char: char| char.is_ascii_lowercase())
    };
    line.match_indices("--").filter(|(at, _)| begins(*at)).map(|(at, _)| &line[at..]).collect()
}

/// The front ends alone decide how a setting is called on a command line or on a page.
#[test]
fn libraries_name_no_flags() {
    assert_eq!(flags_in("    \"use `--keep`\""), ["--keep`\""]);
    assert_eq!(flags_in("    /// what `--keep` is").len() + flags_in("let a = \"--\";").len(), 0);
    let front_ends = ["crates/cli", "crates/studio", "crates/python", "xtask"];
    let mut found = vec![];
    for (path, text) in sources() {
        let is_program = path.iter().any(|folder| folder == "examples");
        if is_program || front_ends.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        // Tests may word messages as a front end does.
        let library = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in library.lines().enumerate() {
            let flags = flags_in(line).into_iter();
            found.extend(flags.map(|flag| format!("{}:{}: {flag}", path.display(), number + 1)));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// `fp8-block-128-pow2` stands for any scheme that is added.
#[test]
fn a_scheme_is_named_by_its_catalogue_entry_alone() {
    let scheme = Path::new("crates/scheme/src");
    assert_eq!(files_with(&["fp8-block-128-pow2"]), [scheme.join("catalog.rs")]);
    let ways = files_with(&["scaled_by_powers", "F32PowerOfTwo", "f32_power_of_two"]);
    let expected =
        ["catalog.rs", "family.rs", "scheme.rs", "storage/f32_power_of_two.rs", "storage.rs"];
    assert_eq!(ways, expected.map(|file| scheme.join(file)));
}

#[test]
fn ways_of_storing_scales_are_told_apart_in_one_file() {
    let scheme = Path::new("crates/scheme/src");
    let outside = |path: &PathBuf| !path.starts_with(scheme.join("storage"));
    let found: Vec<PathBuf> = files_with(&["ScaleStorage"]).into_iter().filter(outside).collect();
    assert_eq!(found, ["scheme.rs", "storage.rs"].map(|file| scheme.join(file)));
    let matched = files_with(&["ScaleStorage::F32(storage) =>", "match self.storage"]);
    assert_eq!(matched, [scheme.join("storage.rs")]);
}

/// PyO3's macros expand to `unsafe`, so that its crate cannot forbid it.
#[test]
fn the_python_module_has_no_unsafe_line_of_its_own() {
    let python = Path::new("crates/python");
    let marks = ["unsafe"];
    let found: Vec<PathBuf> =
        files_with(&marks).into_iter().filter(|path| path.starts_with(python)).collect();
    assert_eq!(found, Vec::<PathBuf>::new());
    let manifest = std::fs::read_to_string(Workspace::here().path("crates/python/Cargo.toml"));
    assert!(manifest.unwrap().contains("unsafe_code = \"deny\""));
}

/// Words of the first column of a table under a heading.
fn words_under(heading: &str, document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Workspace::here().path(document)).unwrap();
    let (_, table) = text.split_once(heading).expect("the document has the heading");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" |").next());
    let words = cells.skip(1).flat_map(|cell| cell.split(", ").map(str::to_owned));
    words.collect()
}

/// Whether a line has the word, alone or as a part of a name such as `WordOfParts`; a word with a
/// capital counts in code only.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = word.starts_with(|letter: char| letter.is_ascii_uppercase());
    let line = if is_name { line.split("//").next().unwrap_or_default() } else { line };
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let is_inside = !is_name && before.is_some_and(|letter| letter.is_ascii_lowercase());
        !is_inside && !after.is_some_and(|letter| letter.is_ascii_lowercase())
    })
}

#[test]
fn words_are_found_alone_and_in_names() {
    assert!(
        ["Mend(it)", "struct MendEntry", "fn of(mend: LastMend)"]
            .iter()
            .all(|line| has_word(line, "Mend"))
    );
    assert!(["Mended", "mend", "// Mend it"].iter().all(|line| !has_word(line, "Mend")));
}

#[test]
fn no_retired_word_is_used() {
    let words = words_under("## Retired words", "docs/glossary.md");
    assert!(words.len() > 10, "{words:?}");
    let mut found = vec![];
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let used = words.iter().filter(|word| has_word(line, word));
            found.extend(used.map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
