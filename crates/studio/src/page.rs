//! The files of the page.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;
use crate::call::Call;

/// A file of the page.
struct Asset {
    path: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($path:literal),* $(,)?) => {
        &[$(Asset { path: $path, bytes: include_bytes!(concat!("../page/", $path)) }),*]
    };
}

/// Every file, as it was written: nothing is built.
const ASSETS: &[Asset] = assets![
    "api.js",
    "element.js",
    "format.js",
    "icon.svg",
    "index.html",
    "jobs.js",
    "long_table.js",
    "main.js",
    "report_main.js",
    "route.js",
    "style.css",
    "widgets.js",
    "charts/chart.js",
    "charts/compare.js",
    "charts/errors.js",
    "charts/histogram.js",
    "charts/layer.js",
    "charts/scale.js",
    "charts/sensitivity.js",
    "charts/sizes.js",
    "charts/table.js",
    "charts/trade_off.js",
    "pages/budget.js",
    "pages/check.js",
    "pages/job.js",
    "pages/kinds.js",
    "pages/open.js",
    "pages/plan.js",
    "pages/queue.js",
    "pages/report.js",
    "pages/report_view.js",
    "pages/settings.js",
    "pages/sizes.js",
    "pages/statistics.js",
    "pages/trial.js",
    "pages/verification.js",
];

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
    let embedded = || {
        let asset = ASSETS.iter().find(|asset| asset.path == path)?;
        Some(asset.bytes.to_vec())
    };
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
    fn every_file_of_the_page_is_in_the_program() {
        let mut found = BTreeSet::new();
        files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page"), "", &mut found);
        let embedded: BTreeSet<String> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(embedded, found);
        assert!(ASSETS.iter().all(|asset| media_type(asset.path).is_some()));
        assert!(embedded.iter().all(|path| is_plain(path)));
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
