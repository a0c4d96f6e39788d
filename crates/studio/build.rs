//! Packs the files of the page, so that a program that may never serve it carries a third of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a page is made of. Anything else in its folder, such as what an editor leaves, stays outside.
const ENDINGS: [&str; 4] = ["css", "html", "js", "svg"];

/// The slowest level; it takes some hundredths of a second here.
const LEVEL: u8 = 10;

fn main() -> io::Result<()> {
    let of_cargo = |name| std::env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let page = of_cargo("CARGO_MANIFEST_DIR")?.join("page");
    let made = of_cargo("OUT_DIR")?;
    println!("cargo::rerun-if-changed={}", page.display());
    let mut files = vec![];
    list(&page, "", &mut files)?;
    files.sort();
    let (mut whole, mut table) = (vec![], String::from("[\n"));
    for path in &files {
        let bytes = fs::read(page.join(path))?;
        table += &format!("    ({path:?}, {}),\n", bytes.len());
        whole.extend(bytes);
    }
    // One stream for all of them: they have their words in common.
    fs::write(made.join("page.deflate"), miniz_oxide::deflate::compress_to_vec(&whole, LEVEL))?;
    fs::write(made.join("page.rs"), table + "]\n")
}

fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let (Some(name), ending) = (path.file_name(), path.extension()) else { continue };
        let name = format!("{prefix}{}", name.to_string_lossy());
        if path.is_dir() {
            list(&path, &format!("{name}/"), files)?;
        } else if ENDINGS.iter().any(|known| ending.is_some_and(|it| it == *known)) {
            files.push(name);
        }
    }
    Ok(())
}
