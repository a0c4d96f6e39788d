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

/// The front ends alone decide how a setting is called on a page or in a message. How it is called on the command
/// line stands in one file, for those who read commands and for those who write them.
#[test]
fn libraries_name_no_flags() {
    assert_eq!(flags_in("    \"use `--keep`\""), ["--keep`\""]);
    assert_eq!(flags_in("    /// what `--keep` is").len() + flags_in("let a = \"--\";").len(), 0);
    let front_ends = ["crates/cli", "crates/studio", "crates/python", "xtask"];
    let mut found = vec![];
    for (path, text) in sources() {
        let is_program = path.iter().any(|folder| folder == "examples");
        let writes_commands = path == Path::new("crates/convert/src/recipe/words.rs");
        if is_program || writes_commands || front_ends.iter().any(|folder| path.starts_with(folder))
        {
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

/// Documents, the page's scripts and the Python files, but for what tells of former words.
fn texts() -> Vec<(PathBuf, String)> {
    let workspace = Workspace::here();
    let mut folders = ["docs", "crates", "xtask", "fixtures"].map(|it| workspace.path(it)).to_vec();
    let mut texts = vec![];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let inside = path.strip_prefix(workspace.path("")).unwrap().to_owned();
            let is_former =
                ["docs/changelog.md", "docs/glossary.md"].map(Path::new).contains(&&*inside);
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if path.is_dir() {
                let is_foreign = inside.ends_with("target") || inside.ends_with("node_modules");
                folders.extend((!is_foreign).then_some(path));
            } else if ["md", "js", "py", "pyi"].contains(&ending) && !is_former {
                texts.push((inside, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    texts
}

/// The names in a line of a file: all but its comment, and of a document what is set as code.
fn names_in(path: &Path, line: &str) -> String {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("md") => line.split('`').skip(1).step_by(2).collect::<Vec<_>>().join(" "),
        Some("py" | "pyi") => line.split('#').next().unwrap_or_default().to_owned(),
        _ => line.split("//").next().unwrap_or_default().to_owned(),
    }
}

/// Whether a line of a file has the word, alone or as a part of a name such as `WordOfParts`; a word with a
/// capital counts in names only, and at their beginning where names begin with a small letter.
fn has_word(path: &Path, line: &str, word: &str) -> bool {
    let is_name = word.starts_with(|letter: char| letter.is_ascii_uppercase());
    let is_rust = path.extension().is_some_and(|ending| ending == "rs");
    let line = if is_name { names_in(path, line) } else { line.to_owned() };
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let may_follow = is_name && is_rust;
        let is_inside = !may_follow && before.is_some_and(|letter| letter.is_ascii_alphabetic());
        !is_inside && !after.is_some_and(|letter| letter.is_ascii_lowercase())
    })
}

#[test]
fn words_are_found_alone_and_in_names() {
    let in_file = |name: &str, line: &str| has_word(Path::new(name), line, "Mend");
    assert!(
        ["Mend(it)", "struct MendEntry", "fn of(mend: LastMend)"]
            .iter()
            .all(|line| in_file("a.rs", line))
    );
    assert!(["Mended", "mend", "// Mend it"].iter().all(|line| !in_file("a.rs", line)));
    assert!(in_file("a.js", "new MendEntry()") && !in_file("a.js", "isMend // Mend"));
    assert!(in_file("a.md", "the type `Mend`") && !in_file("a.md", "Mend it"));
    assert!(in_file("a.py", "class Mend:") && !in_file("a.py", "# Mend"));
}

#[test]
fn no_retired_word_is_used() {
    let words = words_under("## Retired words", "docs/glossary.md");
    assert!(words.len() > 10, "{words:?}");
    let mut found = vec![];
    for (path, text) in sources().into_iter().chain(texts()) {
        for (number, line) in text.lines().enumerate() {
            let used = words.iter().filter(|word| has_word(&path, line, word));
            found.extend(used.map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Words that several types were called by.
#[test]
fn a_word_of_the_glossary_names_one_type() {
    let known = words_under("# Glossary", "docs/glossary.md");
    for word in ["Part", "Place", "Origin", "Opener"] {
        assert!(known.contains(&word.to_lowercase()), "docs/glossary.md: {word}");
        let names = ["struct", "enum", "trait", "type"].map(|kind| format!("{kind} {word}"));
        let is_one = |line: &str, name: &str| {
            let rest = line.split_once(name).map(|(_, rest)| rest.chars().next());
            rest.is_some_and(|next| !next.is_some_and(char::is_alphanumeric))
        };
        let is_defined = |line: &&str| names.iter().any(|name| is_one(line, name));
        let of_file = |(path, text): (PathBuf, String)| {
            vec![path.display().to_string(); text.lines().filter(is_defined).count()]
        };
        let defined: Vec<String> = sources().into_iter().flat_map(of_file).collect();
        assert_eq!(defined.len(), 1, "{word}: {defined:?}");
    }
}
