use std::collections::{BTreeMap, BTreeSet};

use roundwise_tensor_file::{Checkpoint, TensorFileError};

use crate::legacy::FULL_PRECISION_ELEMENTS;
use crate::marker::Marker;
use crate::matmul_precision::MatmulPrecision;
use crate::names::{find_weight, layer_of_weight};
use crate::read::companions::{
    partial_weights, rotating_entry, scaled_numbers_of_fp8, unknown_companions, unnamed_codes,
};
use crate::read::contradictions::contradictions;
use crate::read::defect::{Defect, breaks};
use crate::read::described_codes::DescribedCodes;
use crate::read::expert_blocks::ExpertBlocks;
use crate::read::foreign::catalog::Foreign;
use crate::read::foreign::file::ForeignFile;
use crate::read::header_scales::header_scales;
use crate::read::markers::Markers;
use crate::read::model_scales::{header_scale_of_model, scale_of_model};
use crate::read::odd_scales::odd_scales;
use crate::read::orphans::{orphans, scaled_numbers, strays};
use crate::read::recognise::recognise;
use crate::read::scales::{check_small_scales, lost_scale};
use crate::read::servers::packed_by_servers;
use crate::read::side_tensors::{legacy_marker, side_tensors};
use crate::read::spelling::Spelling;
use crate::read::stored_layer::StoredLayer;
use crate::read::stored_layers::StoredLayers;

impl StoredLayers {
    /// Finds every quantized layer by its dtype, its scales and its marker.
    ///
    /// A weight without elements holds no codes and is not found.
    ///
    /// # Errors
    /// Only when the file cannot be read; whatever is wrong with a layer becomes a [`Defect`].
    pub fn find(file: &Checkpoint) -> Result<Self, TensorFileError> {
        let Markers { by_layer: markers, in_header, defects, .. } = Markers::read(file)?;
        // What a damaged marker says of its layer cannot be trusted, and without it the layer would
        // pass for another one.
        let badly_marked: BTreeSet<String> =
            defects.iter().map(|defect| defect.layer.clone()).collect();
        let mut found = Self {
            side_tensors: side_tensors(file),
            header_layers: in_header.into_keys().collect(),
            defects,
            ..Self::default()
        };
        // 1. Codes of other programs, whose tensors must not be taken for plain weights and scales
        // below.
        // Reads the configuration beside the file once, where it is asked for.
        let described = ForeignFile::new(file);
        let mut foreign = Foreign::find(&described);
        for header in file.tensors() {
            // Packed integers and MXFP4 that a scheme here describes are taken as that scheme, so that
            // their codes can be moved and measured without decoding.
            let layer = packed_by_servers(file, header);
            if let Some(layer) = layer.filter(|layer| foreign.layers.contains_key(*layer)) {
                foreign.remove(layer);
            }
        }
        // 2. Layers in codes that a scheme here describes.
        for header in file.tensors() {
            let Some(layer) = layer_of_weight(&header.name) else { continue };
            let is_foreign = foreign.codes.contains(&header.name)
                || foreign.parts.contains_key(&header.name)
                || foreign.unread.contains_key(layer);
            if is_foreign || badly_marked.contains(layer) {
                continue;
            }
            // Where a layer has two weights, neither is taken.
            let twin = find_weight(file, layer).filter(|first| first.name != header.name);
            let recognised = match twin {
                Some(first) => {
                    found.layers.remove(layer);
                    Err(format!("has both `{}` and `{}`", first.name, header.name))
                }
                None => recognise(&described, header, layer, markers.get(layer), "weight_scale"),
            };
            let recognised = recognised.and_then(|stored| {
                stored.iter().try_for_each(|stored| check_small_scales(file, stored))?;
                Ok(stored)
            });
            match recognised {
                Ok(Some(stored)) => {
                    if let Some(odd) = odd_scales(file, &stored) {
                        found.odd_scales.insert(layer.to_owned(), odd);
                    }
                    found.layers.insert(layer.to_owned(), stored);
                }
                Ok(None) => {}
                Err(problem) => {
                    found.defects.push(Defect::new(layer, problem, breaks::UNREADABLE));
                }
            }
        }
        // 3. What is wrong, once it is known which layers there are.
        found.add_foreign(foreign);
        found.refuse_lost_scales(&described);
        found.refuse_unknown_companions(&described);
        found.expert_blocks = ExpertBlocks::among(file, &found.foreign);
        found.defects.extend(scaled_numbers(file, &found)?);
        found.defects.sort();
        found.strays = strays(file, &found).into_iter().collect();
        found.orphans = orphans(file, &found, &markers);
        found.name_groups(&described);
        found.contradictions = contradictions(&described, &found);
        found.matmul_precisions = found.asked_precisions(file, &markers);
        found.unknown_options = unknown_options(&markers);
        Ok(found)
    }

    /// Names packed integers of which a row is one group as the configuration beside them does, which is read for such alone.
    fn name_groups(&mut self, file: &ForeignFile<'_>) {
        if !self.layers.values().any(DescribedCodes::may_be_one_group) {
            return;
        }
        let told = DescribedCodes::of(file, &self.layers);
        for layer in self.layers.values_mut() {
            layer.scheme = told.as_one_group(layer).unwrap_or(layer.scheme);
        }
    }

    /// Refuses codes that would count as numbers, where the file has a scale under an unknown name that
    /// may be theirs, or its configuration says that there is one.
    fn refuse_lost_scales(&mut self, file: &ForeignFile<'_>) {
        let plain = || self.layers.values().filter(|layer| layer.spelling == Spelling::Plain);
        let in_header = header_scales(file, &plain().map(|layer| layer.layer.as_str()).collect());
        let of_file = of_all_weights(file);
        let lost = plain().filter_map(|layer| {
            let codes = layer.scheme.grid().name();
            let name = layer.layer.as_str();
            let evidence = match (lost_scale(file, name), in_header.get(name), &of_file) {
                (Some(scale), _, _) => {
                    format!("`{scale}` may be one under a name that is not known")
                }
                (None, Some(entry), _) => {
                    format!("header entry `{entry}` may hold one, where no program looks for it")
                }
                (None, None, Some(of_file)) => of_file.clone(),
                (None, None, None) => return None,
            };
            let problem = format!("its weight is {codes} without a scale, and {evidence}");
            Some(Defect::new(&layer.layer, problem, breaks::UNSCALED))
        });
        let lost: Vec<Defect> = lost.collect();
        for defect in lost {
            self.layers.remove(&defect.layer);
            self.defects.push(defect);
        }
    }

    /// Refuses codes that are another weight than they seem: beside a tensor under a name that is not known
    /// there, or of a model whose configuration rotates its inputs.
    pub(crate) fn refuse_unknown_companions(&mut self, file: &ForeignFile<'_>) {
        let mut refused = unknown_companions(file, self);
        refused.extend(unnamed_codes(file, self));
        refused.extend(scaled_numbers_of_fp8(file, self));
        // What is refused as codes is not refused once more.
        let is_plain = |layer: &String| {
            !self.layers.contains_key(layer) && self.defects.iter().all(|it| it.layer != *layer)
        };
        refused.extend(partial_weights(file).into_iter().filter(|(layer, _)| is_plain(layer)));
        let has_codes = !self.layers.is_empty() || !self.foreign.is_empty();
        if has_codes && let Some(entry) = rotating_entry(file) {
            // Markers say what the codes are to a program that reads no configuration.
            let is_unmarked = |layer: &&StoredLayer| {
                !matches!(layer.spelling, Spelling::Comfy | Spelling::ComfyLegacy)
            };
            let own = self.layers.values().filter(is_unmarked).map(|layer| &layer.layer);
            let coded = own.chain(self.foreign.keys());
            let why = format!("codes of a rotated weight, as `{entry}` of the configuration says");
            refused.extend(coded.map(|layer| (layer.clone(), why.clone())));
        }
        for (layer, why) in refused {
            self.layers.remove(&layer);
            self.foreign.remove(&layer);
            let problem = format!("holds {why}");
            self.defects.push(Defect::new(&layer, problem, breaks::UNREADABLE));
        }
    }

    /// Adds layers in codes of other programs, in place of what else was said of them.
    fn add_foreign(&mut self, foreign: Foreign) {
        let Foreign { layers, unread, parts, .. } = foreign;
        // A complaint that names the program is of more use than one about dtypes and shapes.
        self.defects.retain(|defect| !unread.contains_key(&defect.layer));
        for (layer, (program, why)) in &unread {
            let problem = format!(
                "holds codes of {program}, {why}; that program can save them as plain numbers"
            );
            self.defects.push(Defect::new(layer, problem, ""));
        }
        self.side_tensors.extend(parts);
        self.foreign = layers;
        self.unread_programs = unread.into_iter().map(|(layer, it)| (layer, it.0)).collect();
    }

    /// Returns how layers are to be multiplied whose marker, or the file's, asks for anything.
    pub(crate) fn asked_precisions(
        &self,
        file: &Checkpoint,
        markers: &BTreeMap<String, Marker>,
    ) -> BTreeMap<String, MatmulPrecision> {
        let asked = |layer: &StoredLayer| match layer.spelling {
            Spelling::Comfy => markers.get(&layer.layer).map(Marker::matmul_precision),
            Spelling::ComfyLegacy => legacy_marker(file, layer)
                .filter(|marker| marker.element_count() == FULL_PRECISION_ELEMENTS)
                .map(|_| MatmulPrecision::Full),
            Spelling::WeightScale
            | Spelling::WeightScaleInv
            | Spelling::Scale
            | Spelling::WeightPacked
            | Spelling::PackedIntegers
            | Spelling::PackedMicroscaled
            | Spelling::WeightScale2
            | Spelling::Plain => None,
        };
        let asked =
            self.layers.values().filter_map(|layer| Some((layer.layer.clone(), asked(layer)?)));
        asked.filter(|(_, precision)| *precision != MatmulPrecision::Any).collect()
    }
}

/// Says what of a file speaks of scales for codes that have none of their own, if anything does.
fn of_all_weights(file: &ForeignFile<'_>) -> Option<String> {
    if let Some(name) = scale_of_model(file) {
        return Some(format!("`{name}` may be one of all weights"));
    }
    if let Some(entry) = header_scale_of_model(file) {
        return Some(format!("header entry `{entry}` may be one of all weights"));
    }
    let method = file.text("quant_method").filter(|_| file.is_of_configuration())?;
    Some(format!(
        "the configuration beside the file says `quant_method: {method}`, whose codes have scales"
    ))
}

/// Counts the layers whose markers have an option that no loader is known to read.
fn unknown_options(markers: &BTreeMap<String, Marker>) -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    for option in markers.values().flat_map(|marker| marker.unknown.keys()) {
        *layers.entry(option.clone()).or_default() += 1;
    }
    layers
}
