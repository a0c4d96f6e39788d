//! The files and reports of a case, without parts that differ from run to run or release to release.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::models::Models;
use super::table::NOTHING;

/// Files that were written or changed, by their paths inside the folder.
pub(crate) struct Contents(BTreeMap<String, Vec<u8>>);

/// Keys of reports whose values differ from run to run, machine to machine or release to release.
/// So do those that count seconds.
const VOLATILE: [&str; 3] = ["threads", "tool", "version"];

impl Contents {
    pub(crate) fn read(folder: &Path, models: &Models) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(inside) = folders.pop() {
            for entry in fs::read_dir(&inside)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let parts = path.strip_prefix(folder)?.iter().map(|part| part.to_string_lossy());
                let name = parts.collect::<Vec<_>>().join("/");
                let content = fs::read(&path).with_context(|| path.display().to_string())?;
                if !models.hold(&name, &content) {
                    files.insert(name, content);
                }
            }
        }
        Ok(Self(files))
    }

    /// Returns a hash of names and bytes of all files but reports and texts, whose wording may
    /// change.
    pub(crate) fn output_hash(&self, version: &str) -> String {
        let outputs = self.0.iter().filter(|(name, _)| !is_report(name) && !name.ends_with(".txt"));
        let parts = outputs.map(|(name, content)| [name.clone().into(), stable(content, version)]);
        hash(parts.flatten())
    }

    /// Returns a hash of the printed JSON and of the written reports.
    pub(crate) fn report_hash(&self, printed: &[Vec<u8>], version: &str) -> Result<String> {
        let written = self.0.iter().filter(|(name, _)| is_report(name)).map(|(_, it)| it);
        let reports = printed.iter().chain(written).map(|text| {
            let mut report: Value = serde_json::from_slice(text).context("read a report")?;
            drop_volatile(&mut report);
            Ok(without_version(report.to_string().as_bytes(), version))
        });
        Ok(hash(reports.collect::<Result<Vec<_>>>()?))
    }
}

fn is_report(name: &str) -> bool {
    name.starts_with("report")
}

/// Returns the first 64 bits of a hash of all parts, each with its length, so that no two lists of parts join to
/// the same bytes.
fn hash(parts: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(&part);
    }
    match hasher.count() {
        0 => NOTHING.to_owned(),
        _ => hasher.finalize().to_hex()[..16].to_owned(),
    }
}

fn drop_volatile(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            let is_volatile = |key: &str| VOLATILE.contains(&key) || key.contains("seconds");
            entries.retain(|key, _| !is_volatile(key));
            entries.values_mut().for_each(drop_volatile);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_volatile),
        _ => {}
    }
}

/// Returns a file without the version of the tool in its header; every other byte of it stays. The
/// length of the header and the spaces behind it follow from the rest, but for the alignment of the
/// data.
fn stable(content: &[u8], version: &str) -> Vec<u8> {
    let Some((header, data)) = split(content) else { return content.to_vec() };
    // Its value is 0 in a file whose data are aligned; a change of it would be one of the file.
    let alignment = [(header.len() % 8) as u8];
    let header = without_version(header.trim_ascii_end(), version);
    [&alignment[..], &header, data].concat()
}

/// Splits a safetensors file into header and data.
fn split(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = content.split_first_chunk()?;
    let header = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    header.0.starts_with(b"{").then_some(header)
}

/// Removes the version, which stands in JSON that is itself a text in JSON.
fn without_version(text: &[u8], version: &str) -> Vec<u8> {
    let entry = format!(r#"\"version\":\"{version}\""#).into_bytes();
    let mut kept = vec![];
    let mut rest = text;
    while let Some(at) = rest.windows(entry.len()).position(|part| part == entry) {
        kept.extend(&rest[..at]);
        rest = &rest[at + entry.len()..];
    }
    kept.extend(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(header: &str) -> Vec<u8> {
        let mut header = header.to_owned().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        [&(header.len() as u64).to_le_bytes()[..], &header, b"data {}"].concat()
    }

    #[test]
    fn only_the_version_in_a_header_does_not_count() {
        let of = |version: &str, recipe: &str| {
            let entry = json!({"version": version, "recipe": recipe}).to_string();
            let header = json!({"__metadata__": {"roundwise": entry}}).to_string();
            stable(&file(&header), version)
        };
        assert_eq!(of("0.1.0", "a"), of("0.20.0-beta", "a"));
        assert_ne!(of("0.1.0", "a"), of("0.1.0", "b"));
        assert_eq!(stable(b"no header", "0.1.0"), b"no header");
        assert_ne!(stable(&file("{}"), "0"), stable(&file("{} "), "0")[..7]);
    }

    #[test]
    fn times_and_threads_are_no_part_of_a_report() {
        let mut report = json!({
            "threads": 2, "seconds": 1.5, "tensors": [{"name": "a", "seconds": 0.5}],
            "tool": {"name": "roundwise"}, "sync_seconds": null,
        });
        drop_volatile(&mut report);
        assert_eq!(report, json!({"tensors": [{"name": "a"}]}));
    }
}
