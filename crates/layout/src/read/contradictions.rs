//! What the configuration beside codes of servers says of them, held against the codes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::layout::Layout;
use crate::read::defect::{Defect, breaks};
use crate::read::foreign::file::ForeignFile;
use crate::read::stored_layer::StoredLayer;
use crate::read::stored_layers::StoredLayers;
use crate::read::told_codes::differing;

/// What the lists are called that name layers of plain numbers.
const LISTS: [&str; 4] = ["ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules"];

/// Finds layers of a folder that its configuration tells servers to read as something else.
pub(crate) fn contradictions(file: &ForeignFile<'_>, found: &StoredLayers) -> Vec<Defect> {
    let is_theirs = |layer: &&StoredLayer| {
        layer.spelling.layout().is_some_and(Layout::is_for_servers) && layer.experts.is_none()
    };
    let coded: Vec<&StoredLayer> = found.layers.values().filter(is_theirs).collect();
    if coded.is_empty() || file.is_lone_file() {
        return vec![];
    }
    if !file.has_config() {
        let problem =
            "holds layers in codes, and no `config.json` beside it says of what model and how";
        return vec![Defect::new("", problem, breaks::SERVERS)];
    }
    if file.settings().is_null() {
        let problem = "holds layers in codes, of which its `config.json` says nothing";
        return vec![Defect::new("", problem, breaks::SERVERS)];
    }
    let lists = LISTS.iter().filter_map(|list| file.setting(list)?.as_array());
    let plain: BTreeSet<&str> = lists.flatten().filter_map(Value::as_str).collect();
    let problem = |layer: &StoredLayer| {
        if plain.contains(layer.layer.as_str()) {
            return Some(
                "is in codes, and the configuration lists it among plain numbers".to_owned(),
            );
        }
        differing(file, layer)
    };
    let wrong = coded
        .into_iter()
        .filter_map(|layer| Some(Defect::new(&layer.layer, problem(layer)?, breaks::SERVERS)));
    wrong.collect()
}
