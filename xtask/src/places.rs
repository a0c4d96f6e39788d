//! Promises of the table in `docs/architecture.md`: which files a thing to add is written in.

use std::path::{Path, PathBuf};

use crate::workspace::Workspace;

/// Every Rust source of the workspace outside tests and goldens, but for this file.
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
