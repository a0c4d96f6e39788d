//! The files that the cases read: fixtures of the repository, and small models of several kinds.

mod adapters;
mod dialects;
mod gguf;
mod networks;
mod servers;
mod shards;
mod statistics;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// Paths inside a case's folder, with what the files hold.
pub(crate) struct Models(BTreeMap<String, Vec<u8>>);

/// Folders of fixtures whose files keep their names.
const FOLDERS: [&str; 4] = ["broken", "broken/missing-shard", "pickled", "stats"];

/// Other fixtures, with the names that they have here.
const FILES: [(&str, &str); 5] = [
    ("tensors/minilm-layer0.safetensors", "layer.safetensors"),
    ("fuzz/weight_file/model.gguf", "model.gguf"),
    ("fuzz/statistics/importance.gguf", "importance.gguf"),
    ("fuzz/statistics/importance.dat", "importance.dat"),
    ("fuzz/recipe/layer-config.json", "layer-config.json"),
];

impl Models {
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let made = [
            networks::files(),
            adapters::files(),
            dialects::files(),
            gguf::files(),
            servers::files(),
            shards::files(),
            statistics::files(),
        ];
        let mut models = Self(made.into_iter().flatten().collect());
        for (path, name) in FILES {
            models.add(&workspace.path("fixtures").join(path), name)?;
        }
        for folder in FOLDERS {
            for entry in fs::read_dir(workspace.path("fixtures").join(folder))? {
                let path = entry?.path();
                if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                    models.add(&path, &format!("{folder}/{}", name.to_string_lossy()))?;
                }
            }
        }
        Ok(models)
    }

    fn add(&mut self, path: &Path, name: &str) -> Result<()> {
        let content = fs::read(path).with_context(|| path.display().to_string())?;
        self.0.insert(name.to_owned(), content);
        Ok(())
    }

    /// Writes the files that these commands name, and those in folders that they name.
    pub(crate) fn write(&self, folder: &Path, commands: &[String]) -> Result<()> {
        // `--to SCHEME=FILE` and `--merge-lora FILE:STRENGTH` name files as well.
        let words = commands.iter().flat_map(|command| command.split([' ', ':', '=']));
        let words: Vec<&str> = words.collect();
        let is_named = |name: &str| {
            let is_inside = |rest: &str| rest.is_empty() || rest.starts_with('/');
            words
                .iter()
                .any(|word| !word.is_empty() && name.strip_prefix(word).is_some_and(is_inside))
        };
        for (name, content) in self.0.iter().filter(|(name, _)| is_named(name)) {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().context("a file has a folder")?)?;
            fs::write(&path, content).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// Returns whether a file is one of these, unchanged.
    pub(crate) fn hold(&self, name: &str, content: &[u8]) -> bool {
        self.0.get(name).is_some_and(|known| known == content)
    }

    /// Returns the names of the files in a folder of fixtures.
    pub(crate) fn inside(&self, folder: &str) -> impl Iterator<Item = &str> {
        let start = format!("{folder}/");
        let names = self.0.keys();
        names.filter_map(move |name| name.strip_prefix(&start).filter(|rest| !rest.contains('/')))
    }
}
