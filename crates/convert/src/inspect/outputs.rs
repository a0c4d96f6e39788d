use roundwise_compute::{Device, Engine};
use roundwise_rounding::{BiasCorrection, Linear, output_errors};
use roundwise_scheme::{QuantizedMatrix, ScaleRule, Weight};

use crate::error::ConvertError;
use crate::recipe::Recipe;
use crate::source::Source;
use crate::source::StatisticsFile;
use crate::source::layer_inputs::LayerInputs;

/// Judges codes by the outputs of their layers, as the conversion that made them does.
pub(super) struct Outputs {
    inputs: LayerInputs,
    /// The recipe of that conversion, where the file has it.
    recipe: Option<Recipe>,
    engine: Engine,
}

impl Outputs {
    /// Opens the statistics of a model.
    ///
    /// - `recipe`: of the conversion, which decides which of the statistics count
    ///
    /// # Errors
    /// As [`LayerInputs::open`].
    pub(super) fn of(
        file: &StatisticsFile,
        original: &Source,
        recipe: Option<Recipe>,
    ) -> Result<Self, ConvertError> {
        let inputs = LayerInputs::open(file, original)?;
        let inputs = match &recipe {
            Some(recipe) => inputs.seen_by(recipe),
            None => inputs,
        };
        Ok(Self { inputs, recipe, engine: Device::Cpu.resolve()? })
    }

    /// Returns `tr(EHEᵀ) / tr(WHWᵀ)` of the codes, and of nearest ones in the same scheme; `None`
    /// without statistics of the layer.
    ///
    /// - `has_bias`: whether the layer has one, which may take up the mean error
    ///
    /// # Errors
    /// As [`LayerInputs::of_layer`].
    pub(super) fn errors(
        &self,
        layer: &str,
        weight: &Weight<'_>,
        has_bias: bool,
        stored: &QuantizedMatrix,
    ) -> Result<Option<[f64; 2]>, ConvertError> {
        let Some(known) = self.inputs.of_layer(layer)? else { return Ok(None) };
        let rule = match &self.recipe {
            Some(recipe) => recipe.scale_rule(stored.scheme(), recipe.looks_at_inputs()),
            None => ScaleRule::default(),
        };
        let corrects = |recipe: &Recipe| recipe.bias_correction() == BiasCorrection::Inputs;
        let is_centred = has_bias && self.recipe.as_ref().is_some_and(corrects);
        let inputs = match is_centred {
            true => known.inputs.about_mean().ok(),
            false => Some(known.inputs),
        };
        let layer = Linear::from(weight).with_inputs(inputs.as_ref());
        let layer = layer.with_row_inputs(&known.row_inputs);
        // Blocks that do not cover the matrix have no nearest codes of ours to compare with.
        Ok(output_errors(layer, stored, rule, &self.engine).ok())
    }
}
