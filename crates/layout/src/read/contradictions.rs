//! What the configuration beside codes of servers says of them, held against the codes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::layout::Layout;
use crate::names::{OUTPUT_HEAD, weight_of};
use crate::read::defect::{Defect, breaks};
use crate::read::described_codes::{DescribedCodes, PATTERN};
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::layer::ForeignLayer;
use crate::read::foreign::parts::PLAIN;
use crate::read::stored_layer::StoredLayer;
use crate::read::stored_layers::StoredLayers;

/// What the lists are called that name layers of plain numbers.
const LISTS: [&str; 4] = ["ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules"];

/// Finds layers of a folder that its configuration tells servers to read as something else.
pub(crate) fn contradictions(file: &ForeignFile<'_>, found: &StoredLayers) -> Vec<Defect> {
    let is_theirs = |layer: &&StoredLayer| {
        layer.spelling.layout().is_some_and(Layout::is_for_servers) && layer.experts.is_none()
    };
    let coded: Vec<&StoredLayer> = found.layers.values().filter(is_theirs).collect();
    let is_of_groups = |layer: &&ForeignLayer| METHODS_OF_GROUPS.contains(&layer.program.name);
    let foreign: Vec<&ForeignLayer> = found.foreign.values().filter(is_of_groups).collect();
    if coded.is_empty() && foreign.is_empty() || file.is_lone_file() {
        return vec![];
    }
    if !file.has_config() {
        let problem = "holds layers in codes, and no `config.json` that can be read beside it says of what model and how";
        return vec![Defect::new("", problem, breaks::SERVERS)];
    }
    if file.settings().is_null() {
        if file.describes_codes_elsewhere() {
            return vec![];
        }
        let problem = "holds layers in codes, of which its `config.json` says nothing";
        return vec![Defect::new("", problem, breaks::SERVERS)];
    }
    let lists = LISTS.iter().filter_map(|list| file.setting(list)?.as_array());
    let plain: BTreeSet<&str> = lists.flatten().filter_map(Value::as_str).collect();
    let told = DescribedCodes::of(file, &found.layers);
    let problem = |layer: &StoredLayer| {
        if plain.contains(layer.layer.as_str()) {
            return Some(
                "is in codes, and the configuration lists it among plain numbers".to_owned(),
            );
        }
        told.contradiction_of(layer)
    };
    let wrong = coded
        .into_iter()
        .filter_map(|layer| Some(Defect::new(&layer.layer, problem(layer)?, breaks::SERVERS)));
    let of_others = foreign.into_iter().filter_map(|layer| {
        let problem = other_method(file, layer.program.name)?;
        Some(Defect::new(layer.layer(), problem, breaks::SERVERS))
    });
    let of_file =
        of_file(file, &plain, &told).map(|problem| Defect::new("", problem, breaks::SERVERS));
    of_file.into_iter().chain(wrong).chain(of_others).collect()
}

/// Programs whose codes are told apart by their configuration: `quant_method` is one of these, in small letters.
const METHODS_OF_GROUPS: [&str; 2] = ["GPTQ", "AWQ"];

/// Returns that the configuration names one of two methods, and the codes are the other's.
fn other_method(file: &ForeignFile<'_>, program: &str) -> Option<String> {
    let method = file.text("quant_method")?;
    let is_other = |name: &str| name != program && name.to_ascii_lowercase() == method;
    METHODS_OF_GROUPS.into_iter().find(|name| is_other(name))?;
    Some(format!("holds codes of {program}, and the configuration says `quant_method: {method}`"))
}

/// Returns what the configuration says of the whole file that it is not.
fn of_file(
    file: &ForeignFile<'_>,
    plain: &BTreeSet<&str>,
    told: &DescribedCodes<'_>,
) -> Option<String> {
    let status = file.text("quantization_status").filter(|status| status != "compressed");
    if let Some(status) = status.filter(|_| told.is_of_compressed_tensors()) {
        return Some(format!(
            "holds compressed codes, and the configuration says `quantization_status: {status}`"
        ));
    }
    // Scales of the cache that are found in every batch have no tensors.
    let is_static = |scheme: &&Value| {
        scheme.is_object() && scheme.get("dynamic").and_then(Value::as_bool) != Some(true)
    };
    let is_of_cache =
        |name: &str| ["k_scale", "v_scale", "kv_scale"].iter().any(|end| name.ends_with(end));
    let has_cache = || file.tensors().iter().any(|header| is_of_cache(&header.name));
    if file.setting("kv_cache_scheme").filter(is_static).is_some() && !has_cache() {
        return Some(
            "holds no scales of the cache of keys and values, and the configuration has a `kv_cache_scheme`"
                .to_owned(),
        );
    }
    // A list may name it by a pattern.
    let is_listed = plain.iter().any(|name| *name == OUTPUT_HEAD || name.starts_with(PATTERN));
    let is_plain =
        file.get(&weight_of(OUTPUT_HEAD)).is_some_and(|header| PLAIN.contains(&header.dtype));
    (is_plain && !is_listed && told.covers_all_others()).then(|| {
        format!(
            "holds `{OUTPUT_HEAD}` as plain numbers, and the configuration does not list it among these"
        )
    })
}
