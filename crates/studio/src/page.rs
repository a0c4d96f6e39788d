//! The files of the page.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use miniz_oxide::inflate::decompress_slice_iter_to_slice;

use crate::answer::Refusal;
use crate::call::Call;

/// Paths of the files, by name, and their sizes in bytes.
const FILES: &[(&str, usize)] = &include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// All of them behind each other, packed by the build script: raw DEFLATE.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/page.deflate"));

/// Every file, unpacked when the first one is asked for. All clients are answered with plain bytes: on one machine,
/// packed ones arrive no sooner.
static UNPACKED: LazyLock<BTreeMap<&str, Vec<u8>>> = LazyLock::new(unpack);

fn unpack() -> BTreeMap<&'static str, Vec<u8>> {
    let mut whole = vec![0; FILES.iter().map(|(_, bytes)| bytes).sum()];
    let packed = std::iter::once(PACKED);
    if decompress_slice_iter_to_slice(&mut whole, packed, false, false) != Ok(whole.len()) {
        // What is missing is told by those who ask for a file.
        return BTreeMap::new();
    }
    let mut rest = whole.as_slice();
    let mut next = |&(path, bytes)| {
        let (file, after) = rest.split_at(bytes);
        rest = after;
        (path, file.to_vec())
    };
    FILES.iter().map(&mut next).collect()
}

/// A file of the page; the first one, where none is named.
pub(crate) fn file(call: &Call) -> Result<Response, Refusal> {
    let path = match call.place("path") {
        "" => "index.html",
        path => path,
    };
    let (Some(bytes), Some(kind)) = (read(path), media_type(path)) else {
        return Err(Refusal::not_found("there is no such page"));
    };
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}

/// Text of a file of the page.
pub(crate) fn text(path: &str) -> Option<String> {
    String::from_utf8(read(path)?).ok()
}

/// In a debug build what is on the disk now, so that a change shows when the page is loaded again.
fn read(path: &str) -> Option<Vec<u8>> {
    let embedded = || UNPACKED.get(path).cloned();
    if cfg!(debug_assertions) && is_plain(path) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        return std::fs::read(folder.join(path)).ok().or_else(embedded);
    }
    embedded()
}

/// Whether a path names a file below the page's folder, and nothing else.
fn is_plain(path: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain)
    };
    path.split('/').all(is_part)
}

fn media_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn files(folder: &std::path::Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => files(&entry.path(), &format!("{name}/"), found),
                false => drop(found.insert(name)),
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_in_the_program_as_it_was_written() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let mut found = BTreeSet::new();
        files(&folder, "", &mut found);
        let embedded: BTreeSet<String> = UNPACKED.keys().map(|path| (*path).to_owned()).collect();
        assert_eq!(embedded, found);
        for (path, bytes) in UNPACKED.iter() {
            assert_eq!(*bytes, std::fs::read(folder.join(path)).unwrap(), "{path}");
            assert!(is_plain(path) && media_type(path).is_some(), "{path}");
        }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for path in
            ["../Cargo.toml", "a/../../b", "/etc/passwd", "a//b", ".git", "a\\b", "", "a/%2e"]
        {
            assert!(!is_plain(path), "{path}");
        }
    }
}
