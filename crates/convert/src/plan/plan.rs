use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use roundwise_layout::{
    Defect, Layout, Products, QUANTIZATION_METADATA, StoredLayer, bias_of, layer_of, weight_of,
};
use roundwise_scheme::{GridKind, Scheme, Tiling};
use roundwise_tensor_file::{Dtype, Manifest, Sharding, TensorFileError, TensorHeader, TensorSpec};

use crate::error::ConvertError;
use crate::model::{Detected, Preset, Role};
use crate::plan::decide::Rules;
use crate::plan::dequantize;
use crate::plan::memory::Workers;
use crate::plan::memory::{Pace, peak_bytes};
use crate::plan::migrate::Relay;
use crate::plan::note::Note;
use crate::plan::part::PART_KEY;
use crate::plan::part::PartEntry;
use crate::plan::part::Share;
use crate::plan::part::header_hash;
use crate::plan::provenance::Provenance;
use crate::plan::reason::Reason;
use crate::recipe::edit::PROVENANCE_KEY;
use crate::recipe::{PlainDtype, Purpose, Recipe, Rounding};
use crate::source::FileHash;
use crate::source::Source;
use crate::source::StatisticsFile;
use crate::source::consumer::{Consumer, TakesCodes};
use crate::source::layer_inputs::LayerInputs;
use crate::source::source::weight_kind;
use crate::source::{SchemeConsumer, Subject};
use roundwise_rounding::BiasCorrection;

/// Weights in which a NaN or an infinity was found, with the first such row. Known only after a
/// weight has been read; see [`crate::run::convert::convert`].
pub type NotFinite = BTreeMap<String, usize>;

/// What a tensor becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The same bytes.
    Copy(Reason),
    /// Its numbers, decoded from the codes that the input stores.
    Decode {
        /// What they are stored as.
        dtype: PlainDtype,
        /// Why they are decoded.
        reason: Reason,
    },
    /// The same bytes under another name.
    Rename {
        /// The name.
        name: String,
        /// Why.
        reason: Reason,
    },
    /// The same codes and scales, laid out anew.
    Repack {
        /// Grid and tiling.
        scheme: Scheme,
        /// Why.
        reason: Reason,
    },
    /// Codes and scales.
    Quantize {
        /// Grid and tiling.
        scheme: Scheme,
        /// Why this scheme.
        reason: Reason,
    },
    /// The same dtype and shape, its numbers corrected for the rounding of its layer's weight.
    Correct(Reason),
    /// The same dtype and shape, its numbers with what adapters add.
    Merge(Reason),
    /// Nothing.
    Remove(Reason),
}

impl Decision {
    /// Why.
    pub fn reason(&self) -> &Reason {
        match self {
            Decision::Copy(reason)
            | Decision::Correct(reason)
            | Decision::Merge(reason)
            | Decision::Remove(reason) => reason,
            Decision::Quantize { reason, .. }
            | Decision::Decode { reason, .. }
            | Decision::Rename { reason, .. }
            | Decision::Repack { reason, .. } => reason,
        }
    }
}

/// A tensor of the input and what it becomes.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// Name, dtype and shape in the input.
    pub header: TensorHeader,
    /// Shape of the numbers that it stands for: another than the header's where codes are packed.
    pub shape: Vec<u64>,
    /// What it becomes.
    pub decision: Decision,
    /// How its layer may be multiplied, as the input asks for it.
    pub products: Products,
    /// Whether adapters add something to its numbers.
    pub is_merged: bool,
    /// Whether the input holds codes of it, of whatever dtype.
    pub(crate) is_in_codes: bool,
    /// Whether its layer gets an activation scale from statistics.
    pub(crate) gets_input_scale: bool,
}

impl PlannedTensor {
    /// The name without `.weight`.
    pub fn layer(&self) -> &str {
        layer_of(&self.header.name)
    }

    /// The name of its layer's weight in the output, whatever the input calls it.
    pub(crate) fn weight_name(&self) -> String {
        weight_of(self.layer())
    }

    /// The activation scale that its layer gets.
    pub(crate) fn input_scale_spec(&self) -> Option<TensorSpec> {
        let name = format!("{}.input_scale", self.layer());
        self.gets_input_scale.then(|| TensorSpec { name, dtype: Dtype::F32, shape: vec![] })
    }

    /// Scheme of the codes that it becomes.
    pub(crate) fn scheme(&self) -> Option<Scheme> {
        match self.decision {
            Decision::Quantize { scheme, .. } | Decision::Repack { scheme, .. } => Some(scheme),
            Decision::Copy(_)
            | Decision::Rename { .. }
            | Decision::Decode { .. }
            | Decision::Correct(_)
            | Decision::Merge(_)
            | Decision::Remove(_) => None,
        }
    }

    /// `[rows, cols]` of a matrix.
    pub(crate) fn matrix_shape(&self) -> [usize; 2] {
        crate::source::source::matrix_shape(&self.shape)
            .expect("the plan quantizes only matrices that were found to fit")
    }
}

/// The decision for every tensor of a file.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the input is.
    pub subject: Subject,
    /// The preset of the main model.
    pub preset: &'static Preset,
    /// Layout of the output.
    pub layout: Layout,
    /// Every tensor of the input, by name.
    pub tensors: Vec<PlannedTensor>,
    /// What someone might have expected otherwise.
    pub notes: Vec<Note>,
    metadata: BTreeMap<String, String>,
    provenance: Option<Provenance>,
    sharding: Option<Sharding>,
    part: Option<PlannedPart>,
    pub(crate) bands: BTreeMap<String, usize>,
    purpose: Purpose,
    rounding: Rounding,
    bias_correction: BiasCorrection,
}

/// What a part knows about the whole.
#[derive(Clone, Debug)]
struct PlannedPart {
    entry: PartEntry,
    whole: Vec<TensorSpec>,
    files: Vec<(TensorSpec, Vec<u8>)>,
}

impl Plan {
    /// Decides what every tensor becomes, from names, shapes and markers alone.
    ///
    /// # Errors
    /// [`ConvertError::Refused`] for models that have no quantized path in their consumer,
    /// [`ConvertError::Unreadable`] for layers in codes that cannot be decoded,
    /// [`ConvertError::Misfit`] for rules that contradict each other.
    pub fn decide(
        source: &Source,
        recipe: &Recipe,
        not_finite: &NotFinite,
    ) -> Result<Self, ConvertError> {
        let path = source.checkpoint.path();
        let subject = source.subject().clone();
        let detected = &subject.detected;
        refuse_other_model(path, recipe, detected)?;
        let preset = recipe.preset().unwrap_or(detected.main.preset);
        let headers = source.checkpoint.tensors().iter();
        let planned = |header: &TensorHeader, decision| PlannedTensor {
            header: header.clone(),
            shape: source.shape_of(header),
            decision,
            products: source.stored.products(layer_of(&header.name)),
            is_merged: source.adapters().change(&header.name),
            is_in_codes: source.stored_layer(header).is_some(),
            gets_input_scale: false,
        };
        let mended = source.mended.as_ref();
        let layout = mended.map_or(recipe.layout(), |mended| mended.layout);
        let mut notes = vec![];
        let mut tensors: Vec<PlannedTensor> = match recipe.purpose() {
            Purpose::Quantize => {
                refuse_codes(path, recipe, &subject, preset)?;
                let mut rules = Rules::new(source, recipe, detected, preset, not_finite);
                let decide = |header| {
                    let decision = rules.decide(header);
                    let products = rules.products(header, &decision);
                    PlannedTensor { products, ..planned(header, decision) }
                };
                let tensors = headers.map(decide).collect();
                notes.extend(rules.finish(path)?);
                tensors
            }
            Purpose::Decode(dtype) => headers
                .map(|header| planned(header, dequantize::decide(source, header, dtype)))
                .collect(),
            Purpose::Migrate | Purpose::Repair => {
                let mut relay = Relay::new(source, layout, detected);
                let decide = |header| Ok(planned(header, relay.decide(header)?));
                let tensors = headers.map(decide).collect::<Result<_, ConvertError>>()?;
                refuse_unreadable(path, source, &[])?;
                relay.finish()?;
                tensors
            }
            Purpose::Edit => {
                recipe.edit().check(source, recipe.file())?;
                headers.map(|header| recipe.edit().decide(source, header)).collect()
            }
        };
        if recipe.bias_correction() != BiasCorrection::None {
            notes.extend(correct_biases(&mut tensors, recipe));
        }
        let metadata = match recipe.purpose() {
            // What is wrong with a file that is passed on as it is was wrong before.
            Purpose::Edit => recipe.edit().metadata(source, &tensors),
            Purpose::Quantize | Purpose::Decode(_) | Purpose::Migrate | Purpose::Repair => {
                refuse_unreadable(path, source, &tensors)?;
                header_metadata(source, layout, &tensors)
            }
        };
        notes.extend(disputed_metadata(source));
        notes.extend(from_codes(source, &tensors));
        notes.extend(lost_on_reading(source));
        notes.extend(match recipe.purpose() {
            Purpose::Decode(_) => outdated_config(source),
            Purpose::Edit => recipe.edit().header_note(source),
            Purpose::Quantize | Purpose::Migrate | Purpose::Repair => None,
        });
        let mends = mended.into_iter().flat_map(|mended| &mended.mends);
        notes.extend(mends.map(|mend| Note::Mended(mend.clone())));
        notes.extend(forced_preset(recipe, detected));
        notes.extend(told_by_subject(recipe, &subject));
        notes.extend(kept_for_not_finite(&tensors));
        notes.extend(merged(recipe, &tensors));
        notes.extend(unmerged(source));
        Ok(Self {
            subject,
            preset,
            purpose: recipe.purpose(),
            layout,
            tensors,
            notes,
            metadata,
            provenance: recipe
                .tells_provenance()
                .then(|| Provenance::planned(recipe.file(), &source.checkpoint)),
            sharding: None,
            part: None,
            bands: BTreeMap::new(),
            rounding: recipe.rounding(),
            bias_correction: recipe.bias_correction(),
        })
    }

    /// Has the header of the output tell which statistics were used.
    ///
    /// - `blake3`: of their file
    pub(crate) fn tell_statistics(&mut self, blake3: Option<String>) {
        if let Some(provenance) = &mut self.provenance {
            provenance.statistics_blake3 = blake3;
        }
    }

    /// Notes the weights that statistics of inputs do not speak of.
    ///
    /// # Errors
    /// When the statistics cannot be read, are of another model, or have nothing to do with the
    /// recipe.
    pub fn note_missing_statistics(
        &mut self,
        recipe: &Recipe,
        file: Option<&StatisticsFile>,
        source: &Source,
    ) -> Result<(), ConvertError> {
        let Some(inputs) = LayerInputs::of_recipe(recipe, file, source)? else { return Ok(()) };
        let planned = self.quantized().map(|(planned, _)| planned);
        let missing = planned.filter(|planned| !inputs.has(planned.layer()));
        let weights: Vec<String> = missing.map(|planned| planned.header.name.clone()).collect();
        if !weights.is_empty() {
            self.notes.push(Note::WithoutStatistics { weights });
        }
        Ok(())
    }

    /// The same plan for one part of the model.
    pub(crate) fn part(mut self, share: Share, entry: PartEntry) -> Self {
        let files = self.file_tensors();
        let specs = self.tensors.iter().flat_map(|planned| self.specs(planned));
        let whole = specs.chain(files.iter().map(|(spec, _)| spec.clone())).collect();
        // Somebody has to write what is there once.
        let files = if share.number() == 1 { files } else { vec![] };
        self.part = Some(PlannedPart { entry, whole, files });
        self.tensors = share.of(self.tensors, self.rounding);
        self
    }

    /// How to keep to a limit of memory, with at most so many at work.
    ///
    /// # Errors
    /// [`ConvertError::MemoryLimit`] with what is needed.
    pub fn pace(
        &self,
        path: &Path,
        recipe: &Recipe,
        workers: impl Into<Workers>,
        limit: Option<u64>,
    ) -> Result<Pace, ConvertError> {
        // A bias is corrected by the whole of its weight.
        let may_band = self.bias_correction == BiasCorrection::None;
        let rule = recipe.scale_rule();
        let pace = Pace::of(&self.tensors, self.rounding, rule, workers.into(), limit, may_band);
        pace.map_err(|needed| ConvertError::MemoryLimit {
            path: path.to_owned(),
            needed,
            limit: limit.unwrap_or(u64::MAX),
            help: match self.rounding {
                Rounding::Nearest => "`--memory-limit` cannot be lower than that",
                Rounding::Learned(_) => {
                    "learned rounding holds a weight whole; nearest rounding, without `--method` and \
                     `--stats`, takes it by bands of rows"
                }
            },
        })
    }

    /// The same plan, its tensors shared out over several files.
    pub fn shared_out(self, sharding: Option<Sharding>) -> Self {
        Self { sharding, ..self }
    }

    /// Names, dtypes, shapes and offsets of the output.
    ///
    /// # Errors
    /// When a tensor that the layout adds has the name of a tensor that is copied.
    pub fn manifest(&self) -> Result<Manifest, TensorFileError> {
        self.manifest_with(self.provenance.clone())
    }

    /// [`Self::manifest`], the hashes of the input known.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub(crate) fn final_manifest(&self, input: &[FileHash]) -> Result<Manifest, TensorFileError> {
        self.manifest_with(self.provenance.clone().map(|provenance| provenance.of(input)))
    }

    fn manifest_with(&self, provenance: Option<Provenance>) -> Result<Manifest, TensorFileError> {
        let mut metadata = self.metadata.clone();
        let entry = provenance.map(|made| (PROVENANCE_KEY.to_owned(), made.to_json()));
        metadata.extend(entry);
        let specs = self.tensors.iter().flat_map(|planned| self.specs(planned));
        let extra = self.file_tensors().into_iter().map(|(spec, _)| spec);
        let specs: Vec<TensorSpec> = specs.chain(extra).collect();
        if let Some(part) = &self.part {
            let whole = Manifest::new(metadata.clone(), part.whole.clone())?;
            let entry = PartEntry { header: header_hash(&whole), ..part.entry.clone() };
            let entry = serde_json::to_string(&entry).expect("texts and numbers always serialise");
            metadata.insert(PART_KEY.to_owned(), entry);
        }
        match &self.sharding {
            None => Manifest::new(metadata, specs),
            Some(sharding) => Manifest::sharded(&metadata, specs, sharding),
        }
    }

    /// Tensors that the layout adds once, with their bytes.
    pub fn file_tensors(&self) -> Vec<(TensorSpec, Vec<u8>)> {
        if let Some(part) = &self.part {
            return part.files.clone();
        }
        match self.purpose {
            // Whatever there is in the input is copied.
            Purpose::Decode(_) | Purpose::Edit => vec![],
            Purpose::Quantize | Purpose::Migrate | Purpose::Repair => {
                let schemes: Vec<Scheme> =
                    self.tensors.iter().filter_map(PlannedTensor::scheme).collect();
                self.layout.file_tensors(self.file_prefix(), self.file_products(), &schemes)
            }
        }
    }

    /// Where loaders look for what a layout adds once. ComfyUI's loader of text encoders strips
    /// no prefix from their names.
    fn file_prefix(&self) -> &str {
        match self.subject.detected.main.role {
            Role::TextEncoder => "",
            Role::DiffusionModel | Role::Vae | Role::Unknown => &self.subject.detected.main.prefix,
        }
    }

    /// What a layout that asks once for all layers asks for: as the published files do, FP8
    /// products in text encoders, unless one of the layers asked for more, and full precision
    /// elsewhere.
    fn file_products(&self) -> Products {
        let asks = |planned: &PlannedTensor| {
            planned.scheme().is_some() && planned.products == Products::FullPrecision
        };
        // Whoever rounds nothing asks for nothing new.
        let asks_for_nothing = match self.purpose {
            Purpose::Quantize => self.preset.is_text_encoder(),
            Purpose::Decode(_) | Purpose::Migrate | Purpose::Repair | Purpose::Edit => true,
        };
        match asks_for_nothing && !self.tensors.iter().any(asks) {
            true => Products::Any,
            false => Products::FullPrecision,
        }
    }

    /// Tensors that a planned tensor becomes.
    fn specs(&self, planned: &PlannedTensor) -> Vec<TensorSpec> {
        let header = &planned.header;
        let with = |name: &str, dtype, shape: &[u64]| {
            vec![TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }]
        };
        match &planned.decision {
            Decision::Copy(_) | Decision::Correct(_) | Decision::Merge(_) => {
                with(&header.name, header.dtype, &header.shape)
            }
            Decision::Rename { name, .. } => with(name, header.dtype, &header.shape),
            Decision::Decode { dtype, .. } => {
                with(&planned.weight_name(), dtype.dtype(), &planned.shape)
            }
            Decision::Remove(_) => vec![],
            Decision::Quantize { scheme, .. } | Decision::Repack { scheme, .. } => {
                let (layer, shape) = (planned.layer(), planned.matrix_shape());
                let mut specs = self.layout.layer_tensors(layer, *scheme, planned.products, shape);
                specs.extend(planned.input_scale_spec());
                specs
            }
        }
    }

    /// Weights that become codes.
    pub fn quantized(&self) -> impl Iterator<Item = (&PlannedTensor, Scheme)> {
        self.tensors.iter().filter_map(|planned| match planned.decision {
            Decision::Quantize { scheme, .. } => Some((planned, scheme)),
            _ => None,
        })
    }

    /// Weights in codes that become plain numbers or are laid out anew.
    pub fn rewritten(&self) -> impl Iterator<Item = &PlannedTensor> {
        let is_rewritten = |planned: &&PlannedTensor| {
            matches!(planned.decision, Decision::Decode { .. } | Decision::Repack { .. })
        };
        self.tensors.iter().filter(is_rewritten)
    }

    /// The bias that is corrected together with this layer's weight.
    pub(crate) fn corrected_bias(&self, layer: &str) -> Option<&TensorHeader> {
        if self.bias_correction == BiasCorrection::None {
            return None;
        }
        let name = bias_of(layer);
        let place = self.tensors.binary_search_by(|planned| planned.header.name.cmp(&name)).ok()?;
        let found = &self.tensors[place];
        matches!(found.decision, Decision::Correct(_)).then_some(&found.header)
    }

    /// Who opens the weights of each scheme in use, in name order.
    pub fn consumers(&self) -> Vec<SchemeConsumer> {
        let schemes = self.tensors.iter().filter_map(PlannedTensor::scheme);
        let by_name: BTreeMap<String, Scheme> =
            schemes.map(|scheme| (scheme.to_string(), scheme)).collect();
        let asked = by_name.into_values();
        asked
            .map(|scheme| SchemeConsumer {
                scheme,
                answer: self.subject.opens(scheme, self.layout),
            })
            .collect()
    }

    /// Schemes in use, in name order.
    pub fn schemes(&self) -> Vec<Scheme> {
        let by_name: BTreeMap<String, Scheme> =
            self.quantized().map(|(_, scheme)| (scheme.to_string(), scheme)).collect();
        by_name.into_values().collect()
    }

    /// How many kept tensors have each reason, most first.
    pub fn kept_reasons(&self) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::<String, usize>::new();
        for planned in &self.tensors {
            if let Decision::Copy(reason)
            | Decision::Decode { reason, .. }
            | Decision::Merge(reason) = &planned.decision
            {
                *counts.entry(reason.to_string()).or_default() += 1;
            }
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts
    }

    /// Largest number of bytes in memory at once, with so many at work: the largest
    /// buffers, and [`RESIDENT_BYTES`](crate::plan::memory::RESIDENT_BYTES) for the program itself.
    pub fn peak_memory_bytes(&self, workers: impl Into<Workers>) -> u64 {
        peak_bytes(&self.tensors, self.rounding, workers.into())
    }
}

/// What the program that a layout is for would read as garbage is refused, unless somebody insists on
/// what it is. A preset that was asked for refuses, too.
fn refuse_codes(
    path: &Path,
    recipe: &Recipe,
    subject: &Subject,
    preset: &Preset,
) -> Result<(), ConvertError> {
    if !recipe.stores_codes() {
        return Ok(());
    }
    let forced = recipe.preset().and(preset.refuse.as_ref());
    if let Some(reason) = forced {
        return Err(ConvertError::Refused {
            path: path.to_owned(),
            title: format!("a model under preset `{}`", preset.name),
            reason: reason.clone(),
            way_out: "leave it as it is, or name another preset".to_owned(),
        });
    }
    match Consumer::of(recipe.layout()).takes_codes(subject) {
        TakesCodes::No { reason, way_out } if recipe.insisted_kind().is_none() => {
            let title = subject.detected.main.title.to_owned();
            Err(ConvertError::Refused { path: path.to_owned(), title, reason, way_out })
        }
        TakesCodes::No { .. } | TakesCodes::NotKnown { .. } | TakesCodes::Yes => Ok(()),
    }
}

/// What was insisted on, and weights that have no place in any layout.
fn told_by_subject(recipe: &Recipe, subject: &Subject) -> Vec<Note> {
    let insisted = recipe.insisted_kind().zip(subject.looks_like.clone());
    let insisted = insisted.map(|(kind, looks_like)| Note::InsistedKind { kind, looks_like });
    let is_about_codes = recipe.purpose() == Purpose::Quantize;
    let banks = subject.expert_banks.filter(|_| is_about_codes).map(Note::ExpertBanks);
    insisted.into_iter().chain(banks).collect()
}

/// Biases of converted layers change with the codes; layers without a bias are not given one.
///
/// Returns a note where there is nothing to correct.
fn correct_biases(tensors: &mut [PlannedTensor], recipe: &Recipe) -> Option<Note> {
    let rows: BTreeMap<String, u64> = tensors
        .iter()
        .filter(|planned| matches!(planned.decision, Decision::Quantize { .. }))
        .map(|planned| (bias_of(planned.layer()), planned.shape[0]))
        .collect();
    let is_kept = |name: &str| recipe.keep().iter().any(|pattern| pattern.is_match(name));
    let mut corrected = 0;
    for planned in tensors {
        let header = &planned.header;
        let is_bias = rows.get(&header.name).is_some_and(|rows| header.shape == [*rows]);
        let is_copied = matches!(planned.decision, Decision::Copy(_));
        let is_plain = weight_kind(header.dtype).is_some();
        if is_bias && is_copied && is_plain && !is_kept(&header.name) {
            planned.decision = Decision::Correct(Reason::CorrectedBias);
            corrected += 1;
        }
    }
    (corrected == 0).then(|| Note::WithoutEffect {
        setting: recipe.file().in_typed_words("`bias_correction`"),
        finding: "changes nothing: no converted layer has a bias that may change",
    })
}

/// Layers in codes that no one can decode must not be passed on as if they were plain.
fn refuse_unreadable(
    path: &Path,
    source: &Source,
    tensors: &[PlannedTensor],
) -> Result<(), ConvertError> {
    let removed: BTreeSet<&str> = tensors
        .iter()
        .filter(|planned| matches!(planned.decision, Decision::Remove(Reason::Removed(_))))
        .map(PlannedTensor::layer)
        .collect();
    let defects: Vec<Defect> = source
        .stored
        .defects
        .iter()
        .filter(|defect| !removed.contains(defect.layer.as_str()))
        .cloned()
        .collect();
    match defects.is_empty() {
        true => Ok(()),
        false => Err(ConvertError::Unreadable { path: path.to_owned(), defects }),
    }
}

/// A recipe that names its model is for no other one.
fn refuse_other_model(
    path: &Path,
    recipe: &Recipe,
    detected: &Detected,
) -> Result<(), ConvertError> {
    match recipe.file().model.as_deref() {
        Some(model) if model != detected.main.title => Err(ConvertError::Misfit {
            path: path.to_owned(),
            problem: format!(
                "holds: {}; the recipe is for: {model}\n  leave `model` out of a recipe that fits \
                 other models, too",
                detected.main.title
            ),
        }),
        _ => Ok(()),
    }
}

fn forced_preset(recipe: &Recipe, detected: &Detected) -> Option<Note> {
    let forced = recipe.preset().filter(|preset| preset.name != detected.main.preset.name)?;
    Some(Note::ForcedPreset {
        forced: forced.name.clone(),
        model: detected.main.title.to_owned(),
        detected: detected.main.preset.name.clone(),
    })
}

fn kept_for_not_finite(tensors: &[PlannedTensor]) -> Option<Note> {
    let is_not_finite =
        |planned: &&PlannedTensor| matches!(planned.decision.reason(), Reason::NotFinite { .. });
    let kept = tensors.iter().filter(is_not_finite);
    let weights: Vec<String> = kept.map(|planned| planned.header.name.clone()).collect();
    (!weights.is_empty()).then_some(Note::NotFinite { weights })
}

fn merged(recipe: &Recipe, tensors: &[PlannedTensor]) -> Option<Note> {
    let adapters = recipe.adapters().iter();
    let adapters = adapters.map(|(path, strength)| format!("{} × {strength}", path.display()));
    let is_changed = |planned: &&PlannedTensor| {
        planned.is_merged && !matches!(planned.decision, Decision::Remove(_))
    };
    let tensors = tensors.iter().filter(is_changed).count();
    (tensors > 0).then(|| Note::Merged { adapters: adapters.collect(), tensors })
}

fn unmerged(source: &Source) -> Option<Note> {
    let keys = source.adapters().unmatched.clone();
    (!keys.is_empty()).then_some(Note::UnmatchedLora { keys })
}

/// Weights that become codes once more.
fn from_codes(source: &Source, tensors: &[PlannedTensor]) -> Option<Note> {
    let is_again = |planned: &&PlannedTensor| {
        planned.is_in_codes && matches!(planned.decision, Decision::Quantize { .. })
    };
    let again = tensors.iter().filter(is_again);
    let stored = again.clone().filter_map(|planned| source.stored_layer(&planned.header));
    let schemes: BTreeSet<String> = stored.map(|stored| stored.scheme.to_string()).collect();
    let weights = again.count();
    let schemes = schemes.into_iter().collect();
    (weights > 0).then_some(Note::FromCodes { weights, schemes })
}

/// What a container holds that safetensors has no place for.
fn lost_on_reading(source: &Source) -> Vec<Note> {
    let headers = source.checkpoint.tensors().iter();
    let tensors = headers.filter(|header| header.stored_as() != header.dtype.name()).count();
    let entries = source.checkpoint.unread_entries();
    let blocks = (tensors > 0).then_some(Note::Blocks { tensors });
    let unread = (entries > 0).then_some(Note::UnreadEntries { entries });
    blocks.into_iter().chain(unread).collect()
}

fn outdated_config(source: &Source) -> Option<Note> {
    let config = source.checkpoint.text_beside("config.json")?;
    let config: serde_json::Value = serde_json::from_str(&config).ok()?;
    config.get("quantization_config").map(|_| Note::QuantizationConfig)
}

fn disputed_metadata(source: &Source) -> Vec<Note> {
    let disputed = source.checkpoint.disputed_metadata().iter();
    // The entries about layers are read together, and written anew.
    disputed
        .filter(|(key, _)| *key != QUANTIZATION_METADATA)
        .map(|(key, values)| Note::DisputedMetadata { key: key.clone(), others: values.len() })
        .collect()
}

/// The input's entries, with the layout's entry in place of an older one.
fn header_metadata(
    source: &Source,
    layout: Layout,
    tensors: &[PlannedTensor],
) -> BTreeMap<String, String> {
    let mut metadata = source.checkpoint.metadata().clone();
    metadata.remove(QUANTIZATION_METADATA);
    let layers = tensors.iter().filter_map(|planned| {
        Some((planned.layer(), planned.scheme()?, planned.matrix_shape(), planned.products))
    });
    metadata.extend(layout.header_entry(layers));
    metadata
}

/// Whether the activation scale of a stored layer still holds for `scheme`.
pub(crate) fn keeps_input_scale(stored: &StoredLayer, scheme: Scheme, layout: Layout) -> bool {
    let fp8 = Scheme::scaled(GridKind::E4m3, Tiling::Tensor);
    layout == Layout::Comfy && stored.scheme == fp8 && scheme == fp8
}
