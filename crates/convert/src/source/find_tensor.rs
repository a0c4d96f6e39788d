use roundwise_layout::{StoredLayer, weight_of};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::Source;

/// Finds the tensor that somebody names.
///
/// - `name`: of a tensor, or of a layer, which stands for its weight
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
    found.ok_or_else(|| {
        let problem = format!("has no layer and no tensor `{name}`{}", similar(source, name));
        ConvertError::misfit(source.checkpoint.path(), problem)
    })
}

/// Suggests the first tensor whose name holds what was asked for, if any does.
fn similar(source: &Source, name: &str) -> String {
    let tensors = source.checkpoint.tensors().iter();
    let mut alike = tensors.filter(|header| header.name.contains(name));
    alike.next().map_or_else(String::new, |header| format!("; is `{}` meant?", header.name))
}
