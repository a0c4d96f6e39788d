use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use axum::response::Response;
use roundwise_convert::tensor_file::{WEIGHT_ENDINGS, available_bytes, read_start};
use serde::Serialize;
use serde_json::json;

use crate::answer::{Refusal, json};
use crate::call::{Call, Query};
use crate::order::absolute;
use crate::studio::{Shared, locked};

/// Most entries of a list.
const ENTRIES: usize = 5000;
/// Most entries that are looked at for it.
const LOOKED_AT: usize = 200_000;
/// Folders of a list that are looked into.
// Each is one more folder to read, which may lie on a slow disk.
const FOLDERS: usize = 300;
/// Folders that dropped files are looked for in.
const SHOWN: usize = 200;

/// A folder, as a list of what can be chosen in it.
#[derive(Serialize)]
struct Folder {
    path: String,
    parent: Option<String>,
    /// Entry that was asked for, where the path is that of a file.
    selected: Option<String>,
    roots: Vec<String>,
    free_bytes: Option<u64>,
    is_truncated: bool,
    is_model: bool,
    recent: Vec<String>,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    path: String,
    kind: EntryKind,
    /// Whether a folder can be chosen itself: it holds one model.
    is_model: bool,
    bytes: Option<u64>,
    /// Seconds since 1970.
    modified: Option<u64>,
    is_link: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum EntryKind {
    Folder,
    Model,
    Statistics,
    Report,
}

/// Lists a folder; without a path the one to begin with.
pub(crate) fn folder(call: &Call) -> Result<Response, Refusal> {
    let path = call.query(&["path"])?.path("path");
    let path = path.map_or_else(|| first_folder(&call.shared), in_home);
    absolute("path", &path)?;
    json(&list(&call.shared, &path)?)
}

/// A path as shells write those of the user: `~/models`.
fn in_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home,
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

fn first_folder(shared: &Shared) -> PathBuf {
    let start = shared.start.clone().or_else(|| shared.state.recent().into_iter().next());
    let start = start.filter(|path| path.exists());
    start.or_else(std::env::home_dir).unwrap_or_else(|| PathBuf::from("/"))
}

fn list(shared: &Shared, path: &Path) -> Result<Folder, Refusal> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    let (folder, selected) = match (metadata.is_dir(), path.parent(), path.file_name()) {
        (false, Some(folder), Some(name)) => (folder, Some(name.to_string_lossy().into_owned())),
        _ => (path, None),
    };
    let list = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut names = BTreeSet::new();
    let mut entries = vec![];
    let mut looked_at = 0;
    let mut is_truncated = false;
    for entry in list.flatten() {
        looked_at += 1;
        if entries.len() == ENTRIES || looked_at == LOOKED_AT {
            is_truncated = true;
            break;
        }
        // All names, also those that are not shown: `config.json` makes a folder a model.
        names.insert(entry.file_name().to_string_lossy().into_owned());
        entries.extend(Entry::of(&entry));
    }
    entries
        .sort_by_cached_key(|entry| (entry.kind != EntryKind::Folder, entry.name.to_lowercase()));
    let folders = entries.iter_mut().filter(|entry| entry.kind == EntryKind::Folder);
    for entry in folders.take(FOLDERS) {
        entry.is_model = is_model(&names_in(Path::new(&entry.path)));
    }
    remember(shared, folder);
    let lossy = |path: &Path| path.to_string_lossy().into_owned();
    Ok(Folder {
        path: lossy(folder),
        parent: folder.parent().map(lossy),
        selected,
        roots: roots(),
        free_bytes: available_bytes(folder),
        is_truncated,
        is_model: is_model(&names),
        recent: recent(shared),
        entries,
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Refusal {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            let message = format!("{}: there is no such file or folder", path.display());
            Refusal::not_found(message).with_help("Is its drive there? Else choose another.")
        }
        _ => Refusal::file(format!("{}: {error}", path.display())),
    }
}

fn recent(shared: &Shared) -> Vec<String> {
    let paths = shared.state.recent().into_iter().filter(|path| path.exists());
    paths.map(|path| path.to_string_lossy().into_owned()).collect()
}

fn remember(shared: &Shared, folder: &Path) {
    let mut shown = locked(&shared.shown);
    // It only grows, as long as the server runs.
    if shown.len() < SHOWN {
        shown.insert(folder.to_owned());
    }
}

/// Where lists of folders begin: the root, or drives, and what is mounted where users look.
fn roots() -> Vec<String> {
    let mut roots: Vec<PathBuf> = std::env::home_dir().into_iter().collect();
    if cfg!(windows) {
        roots.extend(('A'..='Z').map(|drive| PathBuf::from(format!("{drive}:\\"))));
    } else {
        roots.extend(["/", "/mnt", "/media", "/Volumes"].map(PathBuf::from));
    }
    let there = roots.into_iter().filter(|root| root.is_dir());
    there.map(|root| root.to_string_lossy().into_owned()).collect()
}

impl Entry {
    /// `None` for what is of no use here.
    fn of(entry: &DirEntry) -> Option<Self> {
        // JSON has no place for other names, so that nobody could ask for the file.
        let name = entry.file_name().to_str()?.to_owned();
        if name.starts_with('.') {
            return None;
        }
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        // Links are followed, and shown as such.
        let metadata = std::fs::metadata(&path).ok()?;
        let kind = match metadata.is_dir() {
            true => EntryKind::Folder,
            false => metadata.is_file().then(|| kind_of_file(&name, &path)).flatten()?,
        };
        let modified = metadata.modified().ok().and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        Some(Self {
            name,
            path: path.to_str()?.to_owned(),
            kind,
            is_model: kind == EntryKind::Model,
            bytes: metadata.is_file().then_some(metadata.len()),
            modified: modified.map(|time| time.as_secs()),
            is_link,
        })
    }
}

fn kind_of_file(name: &str, path: &Path) -> Option<EntryKind> {
    let name = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    // Before models, whose endings these have as well.
    if ends(&[".stats.safetensors", ".imatrix"])
        || name.contains("imatrix") && ends(&[".dat", ".gguf"])
    {
        return Some(EntryKind::Statistics);
    }
    if ends(&WEIGHT_ENDINGS) || ends(&[".index.json"]) {
        return Some(EntryKind::Model);
    }
    (ends(&[".json"]) && is_report(path)).then_some(EntryKind::Report)
}

/// Whether a file begins as reports do.
fn is_report(path: &Path) -> bool {
    // The version is the first field of a report.
    let start = read_start(path, 64);
    start.is_ok_and(|start| String::from_utf8_lossy(&start).contains("\"report_version\""))
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    let names = entries.flatten().take(ENTRIES).map(|entry| entry.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Whether these are the files of one model: shards with an index, or weights with a configuration.
fn is_model(names: &BTreeSet<String>) -> bool {
    let is_index = |name: &String| name.ends_with(".index.json");
    let is_weights = |name: &String| name.ends_with(".safetensors") || name.ends_with(".bin");
    names.iter().any(is_index) || names.contains("config.json") && names.iter().any(is_weights)
}

/// Looks for a file that was dropped on the page: browsers tell its name and size, not its place.
pub(crate) fn find(call: &Call) -> Result<Response, Refusal> {
    let query = call.query(&["name", "bytes"])?;
    let name = Query::required("name", query.text("name"))?;
    let bytes = Query::required("bytes", query.number("bytes")?)?;
    // A name with a folder in it would lead out of those that were shown.
    let is_name = Path::new(name).file_name().is_some_and(|file| file == name);
    let mut folders = locked(&call.shared.shown).clone();
    let recent = call.shared.state.recent();
    folders.extend(recent.iter().filter_map(|it| it.parent().map(Path::to_owned)));
    let found = folders.iter().map(|folder| folder.join(name));
    let is_it =
        |path: &PathBuf| std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() == bytes);
    let paths = found.filter(|path| is_name && is_it(path));
    let paths: Vec<String> = paths.map(|path| path.to_string_lossy().into_owned()).collect();
    json(&json!({ "paths": paths }))
}
