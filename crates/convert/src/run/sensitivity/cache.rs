//! The file that keeps what layers lose, so that the next time takes none.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use roundwise_tensor_file::{Overwrite, read_text, write_text_atomically};
use serde::{Deserialize, Serialize};

use crate::error::ConvertError;
use crate::plan::{NotFinite, SchemeLoss};
use crate::recipe::{Complaint, Recipe, RecipeFile, Setting, Text};
use crate::run::input::Input;
use crate::run::job::Job;
use crate::run::resume::RunRecord;

/// Losses by layer and scheme.
pub(super) type Found = BTreeMap<String, BTreeMap<String, SchemeLoss>>;

/// The file that keeps what was measured.
#[derive(Serialize, Deserialize)]
struct CacheFile {
    format: String,
    /// Hash of everything that losses depend on.
    key: String,
    layers: Found,
}

const FORMAT: &str = "roundwise-sensitivity-1";

/// What was measured so far, kept in a file while work goes on.
pub(super) struct Cache<'a> {
    path: Option<&'a Path>,
    key: String,
    /// What was there when the work began.
    pub(super) found: Found,
    all: Mutex<Kept>,
}

struct Kept {
    layers: Found,
    unsaved: usize,
    /// Layers of this run.
    added: usize,
}

impl<'a> Cache<'a> {
    /// Layers that are lost at most when the machine fails.
    const UNSAVED: usize = 16;

    /// Reads what an earlier run has measured of the same model, statistics and recipe.
    pub(super) fn open(
        path: Option<&'a Path>,
        job: &Job,
        input: &Input,
    ) -> Result<Self, ConvertError> {
        let key = key(job, input);
        let text = path.filter(|path| path.exists()).map(read_text).transpose();
        let text = text.map_err(ConvertError::File)?;
        let file = text.map(|text| serde_json::from_str::<CacheFile>(&text));
        if let (Some(path), Some(Err(_))) = (path, &file) {
            let setting = Setting::new("sensitivity");
            let problem = format!(
                "`{}` is to keep what is measured, and is another file or damaged\n  remove it, or name one \
                 that is not there yet (",
                path.display()
            );
            let problem = Text::from(problem) + setting.clone().quoted() + ")";
            let complaints = vec![Complaint::about(setting, problem)];
            return Err(ConvertError::Misfit { path: job.input.clone(), complaints });
        }
        let file = file.and_then(Result::ok);
        // A file of another model or method is of this kind, and is written over with what is
        // measured now.
        let is_same = |file: &CacheFile| file.format == FORMAT && file.key == key;
        let found = file.filter(is_same).map(|file| file.layers).unwrap_or_default();
        let all = Mutex::new(Kept { layers: found.clone(), unsaved: 0, added: 0 });
        Ok(Self { path, key, found, all })
    }

    pub(super) fn add(
        &self,
        layer: &str,
        losses: BTreeMap<String, SchemeLoss>,
    ) -> Result<(), ConvertError> {
        let mut kept = self.all.lock().expect("no thread panics while holding it");
        kept.layers.entry(layer.to_owned()).or_default().extend(losses);
        kept.unsaved += 1;
        kept.added += 1;
        if kept.unsaved >= Self::UNSAVED {
            kept.unsaved = 0;
            self.save(&kept.layers)?;
        }
        Ok(())
    }

    fn save(&self, layers: &Found) -> Result<(), ConvertError> {
        let Some(path) = self.path else { return Ok(()) };
        let (format, key) = (FORMAT.to_owned(), self.key.clone());
        let file = CacheFile { format, key, layers: layers.clone() };
        // Whole or not at all: what the file holds may be hours of work.
        let text = serde_json::to_string_pretty(&file).expect("texts and numbers always serialise");
        write_text_atomically(path, &(text + "\n"), Overwrite::Replace).map_err(ConvertError::File)
    }

    /// Returns everything that is known, and how many layers were added.
    pub(super) fn close(self) -> Result<(Found, usize), ConvertError> {
        let mut kept = self.all.lock().expect("no thread panics while holding it");
        if kept.unsaved > 0 {
            self.save(&kept.layers)?;
        }
        Ok((std::mem::take(&mut kept.layers), kept.added))
    }
}

/// Returns a hash of everything that losses depend on: model, adapters, statistics, method, device and
/// version. Settings that only say which layers are converted, or as what, are left out.
fn key(job: &Job, input: &Input) -> String {
    let file = job.recipe.file();
    let method = RecipeFile {
        method: file.method.clone(),
        method_options: file.method_options.clone(),
        scale_rule: file.scale_rule.clone(),
        merge_lora: file.merge_lora.clone(),
        names: file.names.clone(),
        ..RecipeFile::default()
    };
    // Where these settings are no recipe by themselves the whole one counts: at worst something is
    // measured twice.
    let recipe = Recipe::check(method).unwrap_or_else(|_| job.recipe.clone());
    let run = RunRecord::new(&Job { recipe, ..job.clone() }, input, &NotFinite::new());
    let text = run.to_json().to_string();
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
