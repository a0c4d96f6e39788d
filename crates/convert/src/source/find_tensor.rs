use roundwise_layout::{StoredLayer, layer_of, layer_of_weight, weight_of};
use roundwise_scheme::is_meant;
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::Source;
use crate::source::translated::OtherName;

/// Finds the tensor that somebody names.
///
/// - `name`: of a tensor, or of a layer, which stands for its weight; as the file had it before names
///   were translated, or as another dialect calls it, as well
///
/// # Errors
/// [`ConvertError::Misfit`] where the file has neither, or has several tensors that the name stands for.
pub(crate) fn find_tensor<'a>(
    source: &'a Source,
    name: &str,
) -> Result<&'a TensorHeader, ConvertError> {
    let stored = source.stored.layers.get(name).map(StoredLayer::weight);
    // A tensor, a layer by its weight, a layer whose codes have another name. Exact names come
    // before those of other dialects, so that nothing in the file is out of reach.
    let spellings = [Some(name.to_owned()), Some(weight_of(name)), stored];
    let found = spellings.into_iter().flatten().find_map(|name| source.checkpoint.get(&name));
    if let Some(found) = found {
        return Ok(found);
    }
    let misfit = |problem: String| ConvertError::misfit(source.checkpoint.path(), problem);
    let names = source.other_names();
    match under_other_name(source, &names, name).as_slice() {
        [found] => Ok(*found),
        [] => Err(misfit(format!(
            "has no layer and no tensor `{name}`{}",
            similar(source, &names, name)
        ))),
        parts => {
            let parts: Vec<String> = parts.iter().map(|it| format!("`{}`", it.name)).collect();
            let (count, parts) = (parts.len(), parts.join(", "));
            Err(misfit(format!("has `{name}` in {count} tensors: {parts}\n  name one of them")))
        }
    }
}

/// Returns the tensors that are called so elsewhere; several where the file has them apart.
fn under_other_name<'a>(
    source: &'a Source,
    names: &[OtherName],
    name: &str,
) -> Vec<&'a TensorHeader> {
    let (layer, leaf) = match name.rsplit_once('.').filter(|it| it.1 == "bias") {
        Some((layer, leaf)) => (layer, leaf),
        None => (layer_of(name), "weight"),
    };
    let layers = names.iter().filter(|it| it.other.module == layer).map(|it| &it.layer);
    let mut found: Vec<&TensorHeader> =
        layers.filter_map(|layer| source.checkpoint.get(&format!("{layer}.{leaf}"))).collect();
    // Names are sorted by layer, so that equal ones follow one another.
    found.dedup_by(|a, b| a.name == b.name);
    found
}

/// Suggests a tensor whose name holds what was asked for, or the layer whose name is closest to it.
fn similar(source: &Source, names: &[OtherName], name: &str) -> String {
    let tensors = source.checkpoint.tensors();
    // A layer before other tensors, whose names may hold as much.
    let holds = |header: &&TensorHeader| header.name.contains(name);
    let mut weights = tensors.iter().filter(|header| layer_of_weight(&header.name).is_some());
    let meant = weights.find(holds).map(|header| layer_of(&header.name));
    let meant = meant.or_else(|| tensors.iter().find(holds).map(|header| header.name.as_str()));
    if let Some(meant) = meant {
        return format!("; is `{meant}` meant?");
    }
    let layers = tensors.iter().filter_map(|header| layer_of_weight(&header.name));
    let elsewhere = names.iter().map(|it| it.other.module.as_str());
    is_meant(layer_of(name), layers.chain(elsewhere))
}
