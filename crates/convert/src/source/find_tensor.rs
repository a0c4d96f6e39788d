use roundwise_layout::{StoredLayer, layer_of, weight_of};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::Source;

/// Finds the tensor that somebody names.
///
/// - `name`: of a tensor, or of a layer, which stands for its weight; as the file had it before names
///   were translated, or as another dialect calls it, as well
///
/// # Errors
/// [`ConvertError::Misfit`] where the file has neither.
pub(crate) fn find_tensor<'a>(
    source: &'a Source,
    name: &str,
) -> Result<&'a TensorHeader, ConvertError> {
    let stored = source.stored.layers.get(name).map(StoredLayer::weight);
    let spellings = [Some(name.to_owned()), Some(weight_of(name)), stored];
    let found = spellings.into_iter().flatten().find_map(|name| source.checkpoint.get(&name));
    let found = found.or_else(|| under_other_name(source, name));
    found.ok_or_else(|| {
        let problem = format!("has no layer and no tensor `{name}`{}", similar(source, name));
        ConvertError::misfit(source.checkpoint.path(), problem)
    })
}

/// Returns the weight of the layer that is called so elsewhere.
fn under_other_name<'a>(source: &'a Source, name: &str) -> Option<&'a TensorHeader> {
    let names = source.other_names();
    let found = names.iter().find(|it| it.other.module == layer_of(name))?;
    source.checkpoint.get(&weight_of(&found.layer))
}

/// Suggests the first tensor whose name holds what was asked for, if any does.
fn similar(source: &Source, name: &str) -> String {
    let tensors = source.checkpoint.tensors().iter();
    let mut alike = tensors.filter(|header| header.name.contains(name));
    alike.next().map_or_else(String::new, |header| format!("; is `{}` meant?", header.name))
}
