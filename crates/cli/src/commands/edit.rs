use std::collections::BTreeMap;

use roundwise_convert::RecipeFile;
use roundwise_convert::recipe::EditFile;

use super::rewrite;
use crate::arguments::EditOptions;
use crate::outcome::BadUsage;

pub(crate) fn run(options: &EditOptions) -> anyhow::Result<bool> {
    let edit = EditFile {
        set: entries(&options.set)?,
        unset: options.unset.clone(),
        full_precision: options.full_precision.clone(),
        any_precision: options.any_precision.clone(),
        input_scale: options.input_scale.clone(),
    };
    let recipe = RecipeFile { edit: Some(edit), ..RecipeFile::default() };
    rewrite::run(&options.rewrite, options.statistics.to_file(), recipe)
}

/// Reads entries of the header, each of which may be named once.
fn entries(texts: &[String]) -> Result<BTreeMap<String, String>, BadUsage> {
    let mut entries = BTreeMap::new();
    for text in texts {
        let (key, value) = parse_entry(text)?;
        if let Some(other) = entries.insert(key.clone(), value) {
            let value = &entries[&key];
            let problem = format!("--set `{key}` is to be `{other}` and `{value}`: name one");
            return Err(BadUsage(problem));
        }
    }
    Ok(entries)
}

/// Parses `KEY=VALUE`; the key is the text before the first `=`.
fn parse_entry(text: &str) -> Result<(String, String), BadUsage> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(BadUsage(format!("--set `{text}`: expected KEY=VALUE, e.g. --set author=me"))),
    }
}
