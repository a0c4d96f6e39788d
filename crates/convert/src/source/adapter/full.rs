//! Changes that are stored whole: differences, and tensors that replace the model's own.

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::numbers::numbers;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;

/// A difference `diff` of a weight, a bias or a norm, or `V − W` of a tensor `V` that replaces `W`.
///
/// # Source
/// LyCORIS (`full`, `norms`) and ComfyUI (`diff`, `diff_b`); PEFT for replacements
/// (`modules_to_save`, `bias`).
#[derive(Debug)]
pub(super) struct Full {
    tensor: TensorHeader,
    is_replacement: bool,
}

impl Full {
    /// Returns the change by a whole tensor; `None` where its shape is not that of the rows it
    /// changes.
    pub(super) fn of(tensor: &TensorHeader, site: &Site, is_replacement: bool) -> Option<Self> {
        let rows = site.of_change.as_ref().map(|range| range.end as u64);
        let fits = match rows {
            None => tensor.shape == site.changed_shape(),
            // The layer takes some rows of a larger change, which has to reach to the end of these
            // and may have more.
            Some(rows) => {
                let mut expected = site.changed_shape();
                expected[0] = tensor.shape.first().copied().unwrap_or(0);
                tensor.shape == expected && expected[0] >= rows
            }
        };
        fits.then(|| Self { tensor: tensor.clone(), is_replacement })
    }

    /// Returns the values to add to the changed rows.
    ///
    /// - `weight`: the changed rows
    /// - `start`: index of the first changed number in the tensor
    pub(super) fn change(
        &self,
        file: &AdapterTensors,
        weight: &[f32],
        start: usize,
    ) -> Result<Vec<f32>, ConvertError> {
        let mut values = numbers(file, &self.tensor)?;
        if self.is_replacement {
            // As a difference, so that a strength blends the two tensors.
            values.iter_mut().skip(start).zip(weight).for_each(|(new, old)| *new -= old);
        }
        Ok(values)
    }
}
