use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use roundwise_convert::recipe::Purpose;
use roundwise_convert::{ConvertError, Recipe, Source};

use crate::studio::locked;

/// The input that was looked at last, with its headers read: a change of a setting is planned without
/// reading them again.
#[derive(Default)]
pub(crate) struct Sources(Mutex<Option<Opened>>);

struct Opened {
    asked: Asked,
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    source: Arc<Source>,
}

/// Everything that decides how an input is opened.
#[derive(PartialEq, Eq)]
struct Asked {
    path: PathBuf,
    kind: Option<String>,
    adapters: Vec<String>,
    may_not_match: Option<bool>,
    names: Option<String>,
    repairs: bool,
}

/// Length and time of the last change.
type Stamp = (u64, Option<SystemTime>);

impl Sources {
    /// Opens an input, unless it is open and has not changed.
    pub(crate) fn open(&self, path: &Path, recipe: &Recipe) -> Result<Arc<Source>, ConvertError> {
        let asked = Asked::of(path, recipe);
        if let Some(opened) = &*locked(&self.0)
            && opened.asked == asked
            && opened.stamps.iter().all(|(path, stamp)| stamp_of(path) == *stamp)
        {
            return Ok(Arc::clone(&opened.source));
        }
        let source = Arc::new(Source::open_with(path, recipe)?);
        let files = source.checkpoint.files().iter().map(|file| file.path().to_owned());
        let adapters = recipe.adapters().iter().map(|(path, _)| path.clone());
        // The path that was named as well: files may have been added to a folder.
        let paths = files.chain(adapters).chain([path.to_owned()]);
        let stamps = paths.map(|path| (path.clone(), stamp_of(&path))).collect();
        *locked(&self.0) = Some(Opened { asked, stamps, source: Arc::clone(&source) });
        Ok(source)
    }
}

impl Asked {
    fn of(path: &Path, recipe: &Recipe) -> Self {
        let file = recipe.file();
        Self {
            path: path.to_owned(),
            kind: file.kind.clone(),
            adapters: file.merge_lora.clone(),
            may_not_match: file.allow_unmatched_lora,
            names: file.names.clone(),
            repairs: recipe.purpose() == Purpose::Repair,
        }
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}
