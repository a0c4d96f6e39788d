use roundwise_compute::{Device, Engine};
use roundwise_rounding::{Linear, relative_output_error};
use roundwise_scheme::{QuantizedMatrix, ScaleRule, Weight};

use crate::error::ConvertError;
use crate::source::Source;
use crate::source::StatisticsFile;
use crate::source::layer_inputs::LayerInputs;

/// Judges codes by the outputs of their layers.
pub(super) struct Outputs {
    inputs: LayerInputs,
    engine: Engine,
}

impl Outputs {
    /// Opens the statistics of a model.
    ///
    /// # Errors
    /// As [`LayerInputs::open`].
    pub(super) fn of(file: &StatisticsFile, original: &Source) -> Result<Self, ConvertError> {
        let inputs = LayerInputs::open(file, original)?;
        Ok(Self { inputs, engine: Device::Cpu.resolve()? })
    }

    /// Returns `tr(EHEᵀ) / tr(WHWᵀ)` of the codes, and of nearest ones in the same scheme; `None`
    /// without statistics of the layer.
    ///
    /// # Errors
    /// As [`LayerInputs::plain_of_layer`].
    pub(super) fn errors(
        &self,
        layer: &str,
        weight: &Weight<'_>,
        stored: &QuantizedMatrix,
    ) -> Result<Option<[f64; 2]>, ConvertError> {
        let Some(inputs) = self.inputs.plain_of_layer(layer)? else { return Ok(None) };
        // Blocks that do not cover the matrix have no nearest codes of ours to compare with.
        let nearest = QuantizedMatrix::nearest(weight, stored.scheme(), ScaleRule::Absmax);
        let Ok(nearest) = nearest else { return Ok(None) };
        let layer = Linear::from(weight).with_inputs(Some(&inputs));
        let error = |codes| relative_output_error(layer, codes, &self.engine).ok();
        Ok(error(stored).zip(error(&nearest)).map(|(stored, nearest)| [stored, nearest]))
    }
}
