//! `fixtures/README.md` lists every fixture, and each is what it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("../../../fixtures/README.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// Paths of all files, from the folder of fixtures.
fn files() -> Vec<String> {
    let mut files = vec![];
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path.strip_prefix(root()).unwrap().display().to_string()),
            }
        }
    }
    files.sort();
    files
}

/// Hash, or its beginning, by path; a table under a heading is about the folder of that name.
fn listed() -> BTreeMap<String, String> {
    let mut folder = "";
    let mut listed = BTreeMap::new();
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            folder = heading.trim_end_matches('/');
        }
        let spans: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        let is_hash = |text: &&&str| {
            let digits = text.trim_end_matches('…');
            digits.len() >= 16 && digits.chars().all(|char| char.is_ascii_hexdigit())
        };
        let (true, Some(hash)) = (line.starts_with("| `"), spans.iter().find(is_hash)) else {
            continue;
        };
        let path = match root().join(spans[0]).exists() {
            true => spans[0].to_owned(),
            false => format!("{folder}/{}", spans[0]),
        };
        listed.insert(path, hash.trim_end_matches('…').to_owned());
    }
    listed
}

#[test]
fn every_fixture_is_listed_with_its_hash() {
    let listed = listed();
    // The record of outputs is compared by `cargo xtask golden`, and changes with every new case; the first command of
    // the README writes beside its input.
    let is_made = |path: &str| path.starts_with("tensors/") && path.ends_with("-fp8.safetensors");
    let is_of_fixtures = |path: &&String| {
        !path.starts_with("scripts/")
            && !is_made(path)
            && !["README.md", "golden/outputs.txt"].contains(&path.as_str())
    };
    let files = files();
    let fixtures: Vec<&String> = files.iter().filter(is_of_fixtures).collect();
    let missing: Vec<_> = fixtures.iter().filter(|path| !listed.contains_key(**path)).collect();
    assert!(missing.is_empty(), "not in fixtures/README.md: {missing:?}");
    let gone: Vec<_> = listed.keys().filter(|path| !fixtures.contains(path)).collect();
    assert!(gone.is_empty(), "in fixtures/README.md, but not there: {gone:?}");
    for (path, expected) in listed {
        let digest = Sha256::digest(std::fs::read(root().join(&path)).unwrap());
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hash.starts_with(&expected), "{path}: {hash}, listed is {expected}");
    }
}

#[test]
fn every_script_is_told_about() {
    for path in files().iter().filter(|path| path.ends_with(".py")) {
        let name = path.trim_start_matches("scripts/");
        assert!(PAGE.contains(name), "{name}");
    }
}
