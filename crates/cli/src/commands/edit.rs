use std::collections::BTreeMap;

use roundwise_convert::RecipeFile;
use roundwise_convert::recipe::EditFile;

use super::rewrite;
use crate::arguments::EditOptions;
use crate::outcome::BadUsage;

pub(crate) fn run(options: &EditOptions) -> anyhow::Result<bool> {
    let edit = EditFile {
        set: options
            .set
            .iter()
            .map(|text| parse_entry(text))
            .collect::<Result<BTreeMap<_, _>, _>>()?,
        unset: options.unset.clone(),
        full_precision: options.full_precision.clone(),
        any_precision: options.any_precision.clone(),
        input_scale: options.input_scale.clone(),
    };
    let recipe = RecipeFile { edit: Some(edit), ..RecipeFile::default() };
    rewrite::run(&options.rewrite, options.statistics.to_file(), recipe)
}

/// Parses `KEY=VALUE`; the key is the text before the first `=`.
fn parse_entry(text: &str) -> Result<(String, String), BadUsage> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(BadUsage(format!("--set `{text}`: expected KEY=VALUE, e.g. --set author=me"))),
    }
}
