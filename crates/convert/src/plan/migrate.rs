//! Decisions for tensors of layers whose codes stay and whose layout changes.

use std::collections::BTreeMap;

use roundwise_grid::{E4m3, Grid};
use roundwise_layout::{
    LayerShape, Layout, Spelling, StoredLayer, input_scale_of, layer_of_input_scale,
    layer_of_legacy_input_scale, legacy_input_scale_of,
};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::model::Detected;
use crate::plan::decision::Decision;
use crate::plan::questions::served_layer;
use crate::plan::reason::Reason;
use crate::recipe::PlainDtype;
use crate::source::Source;

/// The same in files of compressed-tensors, of NVFP4.
const INPUT_DIVISOR: &str = ".input_global_scale";

/// Decides for the tensors of a file whose layers in codes move to a layout.
pub(crate) struct Migration<'a> {
    source: &'a Source,
    layout: Layout,
    detected: &'a Detected,
    problems: BTreeMap<String, String>,
}

impl<'a> Migration<'a> {
    pub(crate) fn new(source: &'a Source, layout: Layout, detected: &'a Detected) -> Self {
        Self { source, layout, detected, problems: BTreeMap::new() }
    }

    /// Decides what one tensor becomes.
    ///
    /// # Errors
    /// When the file cannot be read; layers that do not fit the layout are an
    /// error of [`Migration::finish`].
    pub(crate) fn decide(
        &mut self,
        header: &TensorHeader,
    ) -> Result<(Decision, Reason), ConvertError> {
        if let Some(owner) = self.source.stored.side_tensors.get(&header.name) {
            return Ok(match served_layer(self.source, owner) {
                Ok(stored) => self.decide_side_tensor(header, stored),
                Err(verdict) => verdict.of_plain_tensor(),
            });
        }
        if self.source.stored.strays.contains(&header.name) {
            return Ok((Decision::Remove, Reason::Stray));
        }
        if let Some(foreign) = self.source.foreign_layer(header) {
            let is_of_a_layout = self.source.stored.expert_blocks.contains_key(&foreign.name);
            let problem = format!(
                "holds codes of {}, which no {} has a place for: they can be decoded, or converted into others",
                foreign.program.name,
                if is_of_a_layout { "other layout" } else { "layout here" }
            );
            self.problems.insert(foreign.layer().to_owned(), problem);
            return Ok((Decision::Copy, Reason::NotInCodes));
        }
        let Some(stored) = self.source.stored_layer(header) else {
            return Ok((Decision::Copy, Reason::NotInCodes));
        };
        // Nothing is moved: programs of both layouts take such codes as they are.
        if stored.spelling == Spelling::Plain {
            return Ok((Decision::Copy, Reason::Unscaled));
        }
        let stays_bank = stored.experts.is_some() && self.layout == Layout::Comfy;
        if header.shape.len() != 2 && !stays_bank {
            // Loaders scale matrices only.
            let reason = Reason::Rank(header.shape.len()).of_stored(stored);
            return Ok((Decision::Decode { dtype: PlainDtype::F32 }, reason));
        }
        if let Err(problem) = self.fits(header, stored)? {
            self.problems.insert(stored.layer.clone(), problem);
        }
        let repacked = Decision::Repack {
            scheme: stored.scheme,
            matmul_precision: self.source.stored.matmul_precision(&stored.layer),
            gets_input_scale: false,
        };
        Ok((repacked, Reason::Moved.of_stored(stored)))
    }

    /// Checks whether the layout has a place for a layer as it is.
    fn fits(
        &self,
        header: &TensorHeader,
        stored: &StoredLayer,
    ) -> Result<Result<(), String>, ConvertError> {
        let [rows, cols] = stored.shape;
        let part = &self.detected.component_of(&header.name).prefix;
        // A legacy file has one marker, under the prefix of its main model.
        if self.layout == Layout::ComfyLegacy && *part != self.detected.main.prefix {
            return Ok(Err(Reason::OtherPart.to_string()));
        }
        let fits = self
            .layout
            .admits(stored.scheme)
            .map_err(|error| error.to_string())
            .and_then(|()| stored.scheme.covers(rows, cols).map_err(|error| error.to_string()))
            .and_then(|()| {
                let shape = LayerShape { experts: stored.experts, matrix: stored.shape };
                let takes = self.layout.takes(stored.scheme, shape);
                takes.map_err(|error| error.to_string())
            });
        let needs_scale = self.layout.needs_input_scale(stored.scheme);
        if fits.is_ok() && needs_scale && !self.has_input_scale(stored) {
            return Ok(Err(
                "programs need a stored scale of its inputs there, which the file lacks".into(),
            ));
        }
        // Asked last and only of layers that fit otherwise, since these questions read the scales.
        if fits.is_ok() && !self.divides_exactly(stored)? {
            return Ok(Err(
                "the factor of its scales has no inverse that divides to the same".into()
            ));
        }
        let stays_divided = self.layout == Layout::CompressedTensors;
        if fits.is_ok() && !stays_divided && !self.source.multiplies_exactly(stored)? {
            return Ok(Err("its scales are divided by a number that no factor stands for".into()));
        }
        Ok(fits)
    }

    /// Returns whether the file has a scale of a layer's inputs that stays one in the layout.
    fn has_input_scale(&self, stored: &StoredLayer) -> bool {
        let names = [input_scale_of(&stored.layer), legacy_input_scale_of(&stored.layer)];
        let mut found = names.iter().filter_map(|name| self.source.checkpoint.get(name));
        found.any(|header| header.element_count() == 1)
    }

    /// Returns whether a reader of the layout, which divides by the inverse of a factor, gets the same numbers.
    fn divides_exactly(&self, stored: &StoredLayer) -> Result<bool, ConvertError> {
        let divides = self.layout == Layout::CompressedTensors && stored.scheme == Scheme::NVFP4;
        // A file of compressed-tensors has the divisor itself, and its reader goes by that.
        if !divides || stored.spelling == Spelling::WeightPacked {
            return Ok(true);
        }
        let factor = self.source.codes(stored)?.tensor_scale();
        let inverse = 1.0 / factor;
        let is_same = |block: f32| block / inverse == block * factor;
        // For every scale that a block can have: none is negative, and 0x7F is NaN.
        Ok((0..0x7F).map(E4m3::decode).all(is_same))
    }

    /// Decides about a scale or marker: an activation scale goes with its layer, where readers of
    /// the layout know it.
    fn decide_side_tensor(
        &self,
        header: &TensorHeader,
        stored: &StoredLayer,
    ) -> (Decision, Reason) {
        let is_divisor = header.name.ends_with(INPUT_DIVISOR);
        let is_measured = layer_of_input_scale(&header.name).is_some()
            || layer_of_legacy_input_scale(&header.name).is_some()
            || is_divisor;
        // One that multiplies stands for another number than one that divides, and no tensor is computed here.
        let divides = self.layout == Layout::CompressedTensors && stored.scheme == Scheme::NVFP4;
        // That of FP8 has one dimension there, as layers of transformers do.
        let is_shaped = self.layout != Layout::CompressedTensors || header.shape == [1];
        let is_other = is_measured && (is_divisor != divides || !is_shaped);
        // Only these schemes have activation scales in any layout; other programs would meet an
        // unknown key.
        let is_read = [Scheme::FP8, Scheme::NVFP4].contains(&stored.scheme);
        if is_other && is_read {
            return (Decision::Remove, Reason::OtherInputScale);
        }
        // ComfyUI's converter of legacy files takes the scale's only element, and fails on more.
        if !is_measured || !is_read || header.element_count() != 1 {
            return (Decision::Remove, Reason::Superseded);
        }
        let name = match self.layout {
            _ if is_divisor => header.name.clone(),
            Layout::ComfyLegacy => legacy_input_scale_of(&stored.layer),
            Layout::Comfy
            | Layout::CompressedTensors
            | Layout::Fp8
            | Layout::ModelOpt
            | Layout::Mxfp4 => input_scale_of(&stored.layer),
        };
        match name == header.name {
            true => (Decision::Copy, Reason::InputScale),
            false => (Decision::Rename { name }, Reason::InputScale),
        }
    }

    /// Complains about layers that the layout has no place for.
    ///
    /// # Errors
    /// [`ConvertError::Immovable`].
    pub(crate) fn finish(self) -> Result<(), ConvertError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let path = self.source.checkpoint.path().to_owned();
        let layers = self.problems.into_iter().collect();
        Err(ConvertError::Immovable { path, layout: self.layout, layers })
    }
}
