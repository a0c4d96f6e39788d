//! Names, dtypes, shapes and header entries of a planned output.

use roundwise_layout::{MatmulPrecision, OUTPUT_HEAD, ServedLayers, ServerConfig, layer_of_weight};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::{Manifest, TensorFileError, TensorSpec};

use crate::model::Role;
use crate::plan::cache_scales::is_kept_cache_scale;
use crate::plan::decision::{Decision, PlannedTensor};
use crate::plan::plan::Plan;
use crate::plan::run_facts::RunFacts;
use crate::recipe::Purpose;
use crate::source::experts::is_expert_bank;
use crate::source::incomplete::PART_KEY;

impl Plan {
    /// Returns names, dtypes, shapes and offsets of the output.
    ///
    /// # Errors
    /// When a tensor that the layout adds has the name of a tensor that is copied.
    pub fn manifest(&self) -> Result<Manifest, TensorFileError> {
        self.manifest_with(None)
    }

    /// Returns the [manifest](Self::manifest) with the facts that a run knows. Its length does not
    /// depend on them.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub(crate) fn manifest_of_run(&self, facts: &RunFacts) -> Result<Manifest, TensorFileError> {
        self.manifest_with(Some(facts))
    }

    fn manifest_with(&self, facts: Option<&RunFacts>) -> Result<Manifest, TensorFileError> {
        let mut metadata = self.header.entries(facts);
        let specs = self.specs_with(&self.tensors, &self.file_tensors());
        if let Some(part) = &self.part {
            // A part names the header of the whole, so that `merge` can tell that parts belong
            // together.
            let whole = Manifest::new(metadata.clone(), self.specs_of_all_parts())?;
            metadata.insert(PART_KEY.to_owned(), part.entry(&whole, facts).to_json());
        }
        match &self.sharding {
            None => Manifest::new(metadata, specs),
            Some(sharding) => Manifest::sharded(&metadata, specs, sharding),
        }
    }

    /// Returns the tensors of the whole model's output, whichever part holds them.
    pub(crate) fn specs_of_all_parts(&self) -> Vec<TensorSpec> {
        let tensors = self.part.as_ref().map_or(&self.tensors, |part| &part.whole);
        self.specs_with(tensors, &self.file_tensors_of(tensors))
    }

    fn specs_with(
        &self,
        tensors: &[PlannedTensor],
        file_tensors: &[(TensorSpec, Vec<u8>)],
    ) -> Vec<TensorSpec> {
        let specs = tensors.iter().flat_map(|planned| self.specs(planned));
        specs.chain(file_tensors.iter().map(|(spec, _)| spec.clone())).collect()
    }

    /// Returns the tensors that the layout adds once, with their bytes.
    pub fn file_tensors(&self) -> Vec<(TensorSpec, Vec<u8>)> {
        match &self.part {
            None => self.file_tensors_of(&self.tensors),
            // What a file has once goes into the first part.
            Some(part) if part.is_first() => self.file_tensors_of(&part.whole),
            Some(_) => vec![],
        }
    }

    fn file_tensors_of(&self, tensors: &[PlannedTensor]) -> Vec<(TensorSpec, Vec<u8>)> {
        match self.purpose {
            // The input's own tensors of this sort are copied.
            Purpose::Decode(_) | Purpose::Edit => vec![],
            Purpose::Quantize | Purpose::Migrate | Purpose::Repair => {
                let schemes: Vec<Scheme> =
                    tensors.iter().filter_map(PlannedTensor::scheme).collect();
                self.layout.file_tensors(
                    self.file_prefix(),
                    self.file_matmul_precision(tensors),
                    &schemes,
                )
            }
        }
    }

    /// Returns the configuration that tells servers about the layers; `None` for programs that read none.
    pub(crate) fn server_config(&self) -> Option<ServerConfig> {
        let mut layers = ServedLayers::default();
        for planned in self.part.as_ref().map_or(&self.tensors, |part| &part.whole) {
            let layer = planned.layer().to_owned();
            let modules = self.subject.modules_of(&layer);
            if !modules.is_empty() {
                layers.module_names.insert(layer.clone(), modules);
            }
            match planned.scheme() {
                Some(scheme) => drop(layers.codes.insert(layer, scheme)),
                None if is_kept_matrix(planned) => layers.kept.push(layer),
                None if is_expert_bank(&planned.header) => layers.kept_banks.push(layer),
                None => {}
            }
        }
        layers.has_input_scales = self.tensors.iter().any(PlannedTensor::has_input_scale);
        // A head that shares the embedding's weight has no tensor of its own, and is a layer all the same.
        if !layers.codes.contains_key(OUTPUT_HEAD) {
            layers.kept.push(OUTPUT_HEAD.to_owned());
        }
        self.layout.server_config(&layers)
    }

    /// Returns whether the output has scales of the cache of keys and values.
    pub(crate) fn keeps_cache_scales(&self) -> bool {
        self.tensors.iter().any(is_kept_cache_scale)
    }

    /// Returns the prefix under which loaders look for tensors that a layout adds once. ComfyUI's
    /// loader of text encoders strips no prefix from their names.
    fn file_prefix(&self) -> &str {
        match self.subject.detected.main.role {
            Role::TextEncoder => "",
            Role::DiffusionModel | Role::Vae | Role::Unknown => &self.subject.detected.main.prefix,
        }
    }

    /// Returns the matmul precision that a layout with one entry for all layers asks for. As in the
    /// published files, text encoders get FP8 products unless one of the layers asked for more, and
    /// all other models get full precision.
    fn file_matmul_precision(&self, tensors: &[PlannedTensor]) -> MatmulPrecision {
        let asks =
            |planned: &PlannedTensor| matches!(planned.codes(), Some((_, MatmulPrecision::Full)));
        // A conversion that rounds nothing asks for nothing new.
        let asks_for_nothing = match self.purpose {
            Purpose::Quantize => self.preset.is_text_encoder(),
            Purpose::Decode(_) | Purpose::Migrate | Purpose::Repair | Purpose::Edit => true,
        };
        match asks_for_nothing && !tensors.iter().any(asks) {
            true => MatmulPrecision::Any,
            false => MatmulPrecision::Full,
        }
    }

    /// Returns the bytes that the output holds of a tensor of the plan, its scales and markers included.
    pub fn output_bytes(&self, planned: &PlannedTensor) -> u64 {
        let bytes = |spec: &TensorSpec| spec.dtype.byte_len(&spec.shape).unwrap_or(0);
        self.specs(planned).iter().map(bytes).sum()
    }

    /// Returns the tensors that a planned tensor becomes.
    fn specs(&self, planned: &PlannedTensor) -> Vec<TensorSpec> {
        let header = &planned.header;
        let one = |name: &str, dtype, shape: &[u64]| {
            vec![TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }]
        };
        match &planned.decision {
            Decision::Copy | Decision::Correct => one(&header.name, header.dtype, &header.shape),
            Decision::Rename { name } => one(name, header.dtype, &header.shape),
            Decision::Decode { dtype } => {
                one(&planned.decoded_name(), dtype.dtype(), &planned.shape)
            }
            Decision::Remove => vec![],
            Decision::Quantize { scheme, matmul_precision, .. }
            | Decision::Repack { scheme, matmul_precision, .. } => {
                let (layer, shape) = (planned.layer(), planned.layer_shape());
                let mut specs = self.layout.layer_tensors(layer, *scheme, *matmul_precision, shape);
                // Plain numbers keep the shape that they have; codes are of matrices.
                if let (false, [weight]) = (scheme.has_scales(), specs.as_mut_slice()) {
                    weight.shape.clone_from(&planned.shape);
                }
                specs.extend(planned.input_scale_spec());
                specs
            }
        }
    }
}

/// Returns whether a weight is a matrix, which a program might take for a layer in codes.
fn is_kept_matrix(planned: &PlannedTensor) -> bool {
    let is_left = !matches!(planned.decision, Decision::Remove);
    is_left && planned.shape.len() == 2 && layer_of_weight(&planned.header.name).is_some()
}
