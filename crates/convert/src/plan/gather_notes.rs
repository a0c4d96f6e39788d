//! Finds what a plan has to note about its input and its decisions.

use std::collections::BTreeSet;

use roundwise_layout::QUANTIZATION_METADATA;
use roundwise_scheme::{GridKind, Scheme, Tiling};
use roundwise_tensor_file::{Dtype, TensorHeader, parse_python_json};

use crate::model::{Component, Detected, Dialect, FileKind};
use crate::plan::decision::{Decision, PlannedTensor};
use crate::plan::note::{Ineffective, Note};
use crate::plan::reason::Reason;
use crate::plan::request::PlanRequest;
use crate::recipe::{InputScales, Purpose, Recipe, RecipeFile, Rounding, Setting};
use crate::source::consumer::comfyui::reads_dtype;
use crate::source::family::inside_layer;
use crate::source::layer_inputs::LayerInputs;
use crate::source::model_config::{MODEL_CONFIG, QUANTIZATION_CONFIG, missing_description};
use crate::source::source::NamesStay;
use crate::source::translated::Translated;
use crate::source::{ExpertBanks, Source, Subject};

/// Returns notes about the file as a whole and about decisions, in the order in which they are
/// printed.
pub(crate) fn gather_notes(
    request: &PlanRequest<'_>,
    subject: &Subject,
    tensors: &[PlannedTensor],
) -> Vec<Note> {
    let PlanRequest { source, recipe, statistics, limits, .. } = *request;
    // The order is that of reading, from the file to single layers.
    let makes_folder = limits.shard_bytes.is_some();
    let remarks = source.checkpoint.remarks().iter().cloned();
    let mut notes: Vec<Note> = remarks.map(Note::Remark).collect();
    notes.extend(source.inner_wrappers().map(|inner| Note::UnwrappedInside {
        wrappers: inner.wrappers.iter().copied().collect(),
        tensors: inner.tensors,
    }));
    notes.extend(translated(source));
    notes.extend(names_stay(source, recipe));
    notes.extend(disputed_metadata(source));
    notes.extend(odd_scales(source));
    notes.extend(unknown_options(source));
    notes.extend(from_codes(source, tensors));
    notes.extend(kept_codes(tensors));
    notes.extend(decoded_banks(source, tensors).filter(|_| recipe.purpose() == Purpose::Quantize));
    notes.extend(of_gguf(source, recipe));
    notes.extend(lost_on_reading(source, tensors));
    notes.extend(unchanged(tensors));
    notes.extend(stored_otherwise(recipe));
    notes.extend(unread_dtypes(recipe, tensors));
    notes.extend(match recipe.purpose() {
        Purpose::Decode(_) => outdated_config(source, makes_folder),
        Purpose::Edit => recipe.edit().header_note(source),
        Purpose::Quantize | Purpose::Migrate | Purpose::Repair => {
            // In folders for servers it is written anew.
            let is_removed = makes_folder && !recipe.layout().is_for_servers();
            outdated_config(source, makes_folder).filter(|_| is_removed)
        }
    });
    notes.extend(not_copied(source).filter(|_| makes_folder));
    let repairs = source.repaired.iter().flat_map(|repaired| &repaired.repairs);
    notes.extend(repairs.map(|repair| Note::Repaired(repair.clone())));
    notes.extend(forced_preset(recipe, &subject.detected));
    notes.extend(lone_language_model(source, recipe, subject));
    notes.extend(silent_folder(source, recipe, subject));
    notes.extend(stored_input_scales(recipe, tensors));
    notes.extend(left_input_scales(tensors));
    notes.extend(left_cache_scales(tensors));
    notes.extend(insisted(recipe, subject));
    notes.extend(copies(source));
    notes.extend(expert_banks(source, recipe, tensors));
    notes.extend(kept_for_not_finite(tensors));
    notes.extend(decoded_not_finite(request, tensors));
    notes.extend(orphan_scales(tensors));
    notes.extend(idle_adapters(recipe));
    notes.extend(idle_names(source, recipe));
    notes.extend(idle_devices(recipe, tensors));
    notes.extend(idle_search(recipe, tensors));
    notes.extend(idle_migration(source, recipe, tensors));
    notes.extend(merged(recipe, tensors));
    let factors = source.adapters().notes().into_iter();
    notes.extend(factors.map(|note| Note::AdapterFactors(note.to_string())));
    notes.extend(unmerged(source));
    notes.extend(statistics.and_then(|inputs| without_statistics(inputs, tensors)));
    notes
}

/// Returns a note where names would have been translated if somebody had asked.
fn names_stay(source: &Source, recipe: &Recipe) -> Option<Note> {
    let dialect = source.subject().detected.dialect;
    let is_left_to_the_file = recipe.names().is_none() && recipe.purpose() == Purpose::Quantize;
    match source.names_stay().filter(|_| is_left_to_the_file)? {
        NamesStay::NoReader => Some(Note::NamesStay { dialect }),
        NamesStay::Untranslated(reason) => {
            Some(Note::NamesUntranslated { dialect, reason: reason.clone() })
        }
    }
}

/// Returns a note where plain numbers have names that are read from GGUF files alone.
fn of_gguf(source: &Source, recipe: &Recipe) -> Option<Note> {
    let dialect = source.subject().detected.dialect;
    let is_decoded = matches!(recipe.purpose(), Purpose::Decode(_));
    let is_translatable = source.is_translatable();
    (is_decoded && dialect == Dialect::LlamaCpp)
        .then_some(Note::OfGguf { dialect, is_translatable })
}

/// Returns notes about names that were translated.
fn translated(source: &Source) -> Vec<Note> {
    let Some(translated) = source.translated() else { return vec![] };
    let Translated { from, wrapper, renamed, joined, reordered, dropped, .. } = translated.clone();
    let is_from_dialect = from != Dialect::Original;
    let names =
        is_from_dialect.then_some(Note::Translated { from, renamed, joined, reordered, dropped });
    let tensors = renamed;
    let wrapper = (!wrapper.is_empty()).then_some(Note::Unwrapped { wrapper, tensors });
    wrapper.into_iter().chain(names).collect()
}

/// Returns a note of the kind that was insisted on.
fn insisted(recipe: &Recipe, subject: &Subject) -> Option<Note> {
    let insisted = recipe.insisted_kind().zip(subject.looks_like.clone());
    insisted.map(|(kind, looks_like)| Note::InsistedKind { kind, looks_like })
}

/// Returns notes of models that stand in the file twice.
pub(crate) fn copies(source: &Source) -> Vec<Note> {
    let detected = &source.subject().detected;
    let others = detected.others.iter().filter(|component| component.is_copy());
    let note = |component: &Component| {
        let tensors = source.checkpoint.tensors().iter();
        let tensors = tensors.filter(|it| it.name.starts_with(&component.prefix));
        let bytes = tensors.clone().map(TensorHeader::byte_len).fold(0, u64::saturating_add);
        Note::Copy { prefix: component.prefix.clone(), tensors: tensors.count(), bytes }
    };
    others.map(note).collect()
}

/// Returns a note of expert banks that have no place in any layout.
fn expert_banks(source: &Source, recipe: &Recipe, tensors: &[PlannedTensor]) -> Option<Note> {
    let stays = |planned: &&PlannedTensor| match planned.decision {
        Decision::Copy => true,
        Decision::Decode { .. } => planned.header.is_in_blocks(),
        _ => false,
    };
    let kept = tensors.iter().filter(stays).map(|planned| &planned.header);
    let subject = source.subject();
    let served = subject.served.as_ref();
    let banks = ExpertBanks::among(kept, &source.checkpoint, &subject.detected, served);
    banks.filter(|_| recipe.purpose() == Purpose::Quantize).map(Note::ExpertBanks)
}

/// Returns a note of scales that no program chooses.
pub(crate) fn odd_scales(source: &Source) -> Option<Note> {
    let layers = source.stored.odd_scales.iter().map(|(layer, odd)| (layer.clone(), *odd));
    let layers: Vec<_> = layers.collect();
    (!layers.is_empty()).then_some(Note::OddScales { layers })
}

/// Returns a note of options of markers that nothing is known of.
pub(crate) fn unknown_options(source: &Source) -> Option<Note> {
    let options = source.stored.unknown_options.iter();
    let options: Vec<_> = options.map(|(option, layers)| (option.clone(), *layers)).collect();
    (!options.is_empty()).then_some(Note::UnknownOptions { options })
}

/// Returns a note of weights that become codes although the statistics do not speak of them.
fn without_statistics(inputs: &LayerInputs, tensors: &[PlannedTensor]) -> Option<Note> {
    let becomes_codes =
        |planned: &&PlannedTensor| matches!(planned.decision, Decision::Quantize { .. });
    let missing = tensors.iter().filter(becomes_codes);
    let missing = missing.filter(|planned| !inputs.has(planned.layer()));
    let weights: Vec<String> = missing.map(|planned| planned.header.name.clone()).collect();
    (!weights.is_empty()).then_some(Note::WithoutStatistics { weights })
}

fn disputed_metadata(source: &Source) -> Vec<Note> {
    let disputed = source.checkpoint.disputed_metadata().iter();
    // The entries of all shards about layers are read together and written anew, so that none is lost.
    disputed
        .filter(|(key, _)| *key != QUANTIZATION_METADATA)
        .map(|(key, values)| Note::DisputedMetadata { key: key.clone(), others: values.len() })
        .collect()
}

/// Returns a note of weights that become codes once more.
fn from_codes(source: &Source, tensors: &[PlannedTensor]) -> Option<Note> {
    let is_again = |planned: &&PlannedTensor| {
        planned.is_in_codes
            && matches!(planned.decision, Decision::Quantize { keeps_codes: false, .. })
    };
    let again = tensors.iter().filter(is_again);
    let stored = again.clone().filter_map(|planned| source.stored_layer(&planned.header));
    let schemes = stored.map(|stored| stored.scheme.to_string());
    let foreign = again.clone().filter_map(|planned| source.foreign_layer(&planned.header));
    let foreign = foreign.map(|foreign| format!("{}, {}", foreign.program.name, foreign.codes));
    let schemes: BTreeSet<String> = schemes.chain(foreign).collect();
    let weights = again.count();
    let schemes = schemes.into_iter().collect();
    (weights > 0).then_some(Note::FromCodes { weights, schemes })
}

/// Returns a note of weights whose codes stay.
fn kept_codes(tensors: &[PlannedTensor]) -> Option<Note> {
    let kept = tensors.iter().filter(|planned| planned.keeps_codes());
    let schemes = kept.clone().filter_map(PlannedTensor::scheme);
    let schemes: BTreeSet<String> = schemes.map(|scheme| scheme.to_string()).collect();
    let (weights, schemes) = (kept.count(), schemes.into_iter().collect());
    (weights > 0).then_some(Note::KeptCodes { weights, schemes })
}

/// Returns a note of expert banks in codes of other programs, which grow.
fn decoded_banks(source: &Source, tensors: &[PlannedTensor]) -> Option<Note> {
    let is_of_comfyui = |planned: &PlannedTensor| {
        source.stored_layer(&planned.header).is_some_and(|stored| stored.experts.is_some())
    };
    let is_bank = |planned: &&PlannedTensor| {
        planned.shape.len() == 3 && (planned.is_foreign || is_of_comfyui(planned))
    };
    let banks = tensors.iter().filter(is_bank).filter_map(|planned| {
        let Decision::Decode { dtype } = planned.decision else { return None };
        let count = planned.shape.iter().fold(1_u64, |count, &next| count.saturating_mul(next));
        let program = source.foreign_layer(&planned.header).map_or("ComfyUI", |it| it.program.name);
        Some((program, planned.header.byte_len(), count.saturating_mul(dtype.width() as u64)))
    });
    let banks: Vec<_> = banks.collect();
    let sum = |of: fn(&(&str, u64, u64)) -> u64| banks.iter().map(of).fold(0, u64::saturating_add);
    let (program, ..) = *banks.first()?;
    Some(Note::DecodedBanks {
        tensors: banks.len(),
        program,
        bytes: [sum(|it| it.1), sum(|it| it.2)],
    })
}

/// Returns notes of contents of a container that safetensors has no place for.
fn lost_on_reading(source: &Source, planned: &[PlannedTensor]) -> Vec<Note> {
    let headers = source.checkpoint.tensors().iter();
    let blocks = headers.filter(|header| header.is_in_blocks());
    let types: Vec<&str> = blocks.map(TensorHeader::stored_as).collect();
    let tensors = types.len();
    let types: Vec<&str> = BTreeSet::from_iter(types).into_iter().collect();
    let kept_as = planned.iter().find_map(|planned| match planned.decision {
        // All are, where codes are what somebody decodes.
        _ if matches!(planned.reason, Reason::Blocks(_)) => None,
        Decision::Decode { dtype } if planned.header.is_in_blocks() => Some(dtype),
        _ => None,
    });
    let entries = source.checkpoint.unread_entries();
    let blocks = (tensors > 0).then_some(Note::Blocks { types, tensors, kept_as });
    let unread = (entries > 0).then_some(Note::UnreadEntries { entries });
    blocks.into_iter().chain(unread).collect()
}

/// Returns a note where the weights are to be stored in the dtype that they have.
fn unchanged(tensors: &[PlannedTensor]) -> Option<Note> {
    let stored = tensors.iter().filter_map(|planned| Some((planned, planned.scheme()?)));
    let stored: Vec<_> = stored.collect();
    let dtype_of = |scheme: Scheme| match scheme.grid() {
        // Codes with scales are another dtype in any case.
        _ if scheme.has_scales() => None,
        GridKind::F16 => Some(Dtype::F16),
        GridKind::Bf16 => Some(Dtype::BF16),
        _ => None,
    };
    let is_same = |(planned, scheme): &(&PlannedTensor, Scheme)| {
        dtype_of(*scheme) == Some(planned.header.dtype)
    };
    let dtype = stored.first()?.0.header.dtype.name();
    // Adapters change biases and norms as well, which have no scheme.
    let are_merged = tensors.iter().any(|planned| planned.is_merged);
    (!are_merged && stored.iter().all(is_same))
        .then_some(Note::Unchanged { dtype, weights: stored.len() })
}

/// Returns notes of schemes that the layout stores as others.
fn stored_otherwise(recipe: &Recipe) -> Vec<Note> {
    if recipe.purpose() != Purpose::Quantize {
        return vec![];
    }
    let file = recipe.file();
    let of_rules = file.rules.iter().map(|rule| &rule.scheme);
    let of_layers = file.assign.iter().map(|assigned| &assigned.scheme);
    let names = file.scheme.iter().chain(&file.fallback_scheme).chain(of_rules).chain(of_layers);
    // A set of names, so that each is told once and in one order.
    let asked: BTreeSet<&String> = names.collect();
    let asked = asked.into_iter().filter_map(|name| name.parse::<Scheme>().ok());
    let stored = asked.map(|asked| (asked, recipe.layout().stored_scheme(asked)));
    // Scales in the dtype of the model are the same scheme by name.
    let differs = |(asked, stored): &(Scheme, Scheme)| asked.to_string() != stored.to_string();
    stored.filter(differs).map(|(asked, stored)| Note::StoredAs { asked, stored }).collect()
}

/// Returns a note of what lies in the input's folder and does not belong to it.
fn not_copied(source: &Source) -> Option<Note> {
    let names = source.checkpoint.passed_over_beside();
    (!names.is_empty()).then_some(Note::NotCopied { names })
}

/// Returns a note of tensors that are kept in dtypes that ComfyUI's header parser fails on.
fn unread_dtypes(recipe: &Recipe, tensors: &[PlannedTensor]) -> Option<Note> {
    let is_unread = |planned: &&PlannedTensor| {
        planned.decision == Decision::Copy && !reads_dtype(planned.header.dtype)
    };
    let unread = tensors.iter().filter(is_unread).filter(|_| recipe.stores_codes());
    let unread: Vec<&PlannedTensor> = unread.collect();
    let names = unread.iter().map(|planned| planned.header.name.clone()).collect();
    let dtypes = unread.iter().map(|planned| planned.header.dtype.name());
    let dtypes: Vec<&str> = BTreeSet::from_iter(dtypes).into_iter().collect();
    (!dtypes.is_empty()).then_some(Note::UnreadDtypes { tensors: names, dtypes })
}

fn outdated_config(source: &Source, is_changed: bool) -> Option<Note> {
    let config = source.checkpoint.text_beside(MODEL_CONFIG)?;
    let config: serde_json::Value = parse_python_json(&config).ok()?;
    config.get(QUANTIZATION_CONFIG).map(|_| Note::QuantizationConfig { is_changed })
}

/// Returns a note of scales of inputs that the layout has no form for.
fn left_input_scales(tensors: &[PlannedTensor]) -> Option<Note> {
    let is_left = |planned: &&PlannedTensor| planned.reason == Reason::OtherInputScale;
    let layers = tensors.iter().filter(is_left).count();
    (layers > 0).then_some(Note::InputScales { layers })
}

/// Returns a note of scales of inputs that the output gets, where those were asked for.
fn stored_input_scales(recipe: &Recipe, tensors: &[PlannedTensor]) -> Option<Note> {
    if recipe.inputs() != InputScales::Static {
        return None;
    }
    let coded = tensors.iter().filter(|planned| planned.scheme().is_some_and(Scheme::has_scales));
    let (layers, of) = coded.fold((0, 0), |(layers, of), planned| {
        (layers + usize::from(planned.input_scale_spec().is_some()), of + 1)
    });
    Some(Note::StoredInputScales { layers, of })
}

/// Returns a note of scales of the cache of keys and values that are left out.
fn left_cache_scales(tensors: &[PlannedTensor]) -> Option<Note> {
    let tensors = tensors.iter().filter(|planned| planned.reason == Reason::CacheScale).count();
    (tensors > 0).then_some(Note::CacheScales { tensors })
}

/// Returns a note where servers would open what becomes of the folder that the file lies in.
fn lone_language_model(source: &Source, recipe: &Recipe, subject: &Subject) -> Option<Note> {
    let is_alone = source.checkpoint.is_lone_file() && !recipe.layout().is_for_servers();
    let is_meant = is_alone && recipe.stores_codes() && subject.kind() == FileKind::LanguageModel;
    subject.served.as_ref().filter(|_| is_meant)?;
    let folder = match source.checkpoint.path().parent()? {
        folder if folder.as_os_str().is_empty() => ".".to_owned(),
        folder => folder.display().to_string(),
    };
    Some(Note::LoneLanguageModel { folder })
}

/// Returns a note where the folder of a language model would be for servers if its configuration said what it is, and
/// nobody said what it is for.
fn silent_folder(source: &Source, recipe: &Recipe, subject: &Subject) -> Option<Note> {
    let RecipeFile { program, layout, .. } = recipe.file();
    let is_said = program.is_some() || layout.is_some();
    let is_meant = recipe.purpose() == Purpose::Quantize && recipe.stores_codes() && !is_said;
    if !is_meant || !subject.detected.main.preset.is_text_encoder() {
        return None;
    }
    let mut names = source.checkpoint.tensors().iter().map(|header| header.name.as_str());
    names.find(|name| inside_layer(name).is_some())?;
    let silence = missing_description(&source.checkpoint)?;
    Some(Note::SilentFolder { silence })
}

fn forced_preset(recipe: &Recipe, detected: &Detected) -> Option<Note> {
    let forced = recipe.preset().filter(|preset| preset.name != detected.main.preset.name)?;
    Some(Note::ForcedPreset {
        forced: recipe.file().preset.clone().unwrap_or_else(|| forced.name.clone()),
        model: detected.main.title.to_owned(),
        detected: detected.main.preset.name.clone(),
    })
}

fn kept_for_not_finite(tensors: &[PlannedTensor]) -> Option<Note> {
    let is_not_finite =
        |planned: &&PlannedTensor| matches!(planned.reason, Reason::NotFinite { .. });
    let kept = tensors.iter().filter(is_not_finite);
    let weights: Vec<String> = kept.map(|planned| planned.header.name.clone()).collect();
    (!weights.is_empty()).then_some(Note::NotFinite { weights })
}

/// Returns a note of codes that are no numbers, where they become plain numbers.
fn decoded_not_finite(request: &PlanRequest<'_>, tensors: &[PlannedTensor]) -> Option<Note> {
    let is_known = |planned: &&PlannedTensor| {
        matches!(planned.decision, Decision::Decode { .. })
            && request.not_finite.contains_key(&planned.header.name)
    };
    let weights = tensors.iter().filter(is_known).map(|planned| planned.header.name.clone());
    let weights: Vec<String> = weights.collect();
    (!weights.is_empty()).then_some(Note::DecodedNotFinite { weights })
}

/// Returns notes of scales of weights that hold no codes, or are not there: the maker of the file may have meant
/// them to count.
fn orphan_scales(tensors: &[PlannedTensor]) -> impl Iterator<Item = Note> {
    let left_out_for = |reason: Reason| -> Vec<String> {
        let is_so = |planned: &&PlannedTensor| {
            planned.reason == reason && planned.decision == Decision::Remove
        };
        tensors.iter().filter(is_so).map(|planned| planned.header.name.clone()).collect()
    };
    let [orphans, strays] = [Reason::Orphan, Reason::Stray].map(left_out_for);
    let orphans = (!orphans.is_empty()).then_some(Note::OrphanScales { tensors: orphans });
    let strays = (!strays.is_empty()).then_some(Note::StrayScales { tensors: strays });
    orphans.into_iter().chain(strays)
}

fn idle(setting: Setting, pattern: Option<String>, because: &'static str) -> Note {
    Note::WithoutEffect { asked: Ineffective { setting, pattern }, because }
}

/// Returns notes of adapters that are added with nothing.
fn idle_adapters(recipe: &Recipe) -> Vec<Note> {
    let typed = recipe.file().merge_lora.iter().zip(recipe.adapters()).enumerate();
    let weak = typed.filter(|(_, (_, (_, strength)))| *strength == 0.0);
    let note = |(entry, (text, _)): (usize, (&String, _))| {
        let setting = Setting::new("merge_lora").at(entry);
        idle(setting, Some(text.clone()), "changes nothing: its strength is 0")
    };
    weak.map(note).collect()
}

/// Returns a note where names were asked about that are the model's own.
fn idle_names(source: &Source, recipe: &Recipe) -> Option<Note> {
    let is_asked = recipe.file().names.is_some() && recipe.purpose() == Purpose::Quantize;
    let stay = source.translated().is_none() && !source.is_translatable();
    let because = match source.subject().detected.dialect {
        Dialect::Original | Dialect::Transformers => {
            "changes nothing: the names are the model's own"
        }
        Dialect::Diffusers | Dialect::LlamaCpp | Dialect::Unknown => {
            "changes nothing: no table here translates such names"
        }
    };
    (is_asked && stay).then(|| idle(Setting::new("names"), None, because))
}

/// Returns notes of settings of a search where nothing is searched for: the input has all codes already.
fn idle_search(recipe: &Recipe, tensors: &[PlannedTensor]) -> Vec<Note> {
    let is_quantized =
        |planned: &&PlannedTensor| matches!(planned.decision, Decision::Quantize { .. });
    let mut quantized = tensors.iter().filter(is_quantized).peekable();
    if quantized.peek().is_none() || !quantized.all(PlannedTensor::keeps_codes) {
        return vec![];
    }
    let file = recipe.file();
    let method = (recipe.rounding() != Rounding::Nearest).then_some("method");
    let scale_rule = file.scale_rule.as_ref().map(|_| "scale_rule");
    let because = "changes nothing: all weights keep their codes";
    let settings = method.into_iter().chain(scale_rule);
    settings.map(|setting| idle(Setting::new(setting), None, because)).collect()
}

/// Returns a note where devices were named that no codes have to be shared out for.
fn idle_devices(recipe: &Recipe, tensors: &[PlannedTensor]) -> Option<Note> {
    let mut schemes = tensors.iter().filter_map(PlannedTensor::scheme);
    let has_blocks = schemes.any(|scheme| matches!(scheme.tiling(), Tiling::Block { .. }));
    let because = "changes nothing: such codes are shared out over any number of devices";
    (recipe.tensor_parallel() > 1 && !has_blocks)
        .then(|| idle(Setting::new("tensor_parallel"), None, because))
}

/// Returns a note where all layers are laid out already as they are to be.
fn idle_migration(source: &Source, recipe: &Recipe, tensors: &[PlannedTensor]) -> Option<Note> {
    let moved =
        tensors.iter().filter(|planned| matches!(planned.decision, Decision::Repack { .. }));
    let is_there = |planned: &PlannedTensor| {
        let stored = source.stored_layer(&planned.header);
        stored.and_then(|stored| stored.spelling.layout()) == Some(recipe.layout())
    };
    let is_asked = recipe.purpose() == Purpose::Migrate;
    let because = "changes little: every layer is laid out so already";
    let setting = || Setting::new("migrate_to");
    (is_asked && moved.clone().next().is_some() && moved.clone().all(is_there))
        .then(|| idle(setting(), None, because))
}

fn merged(recipe: &Recipe, tensors: &[PlannedTensor]) -> Option<Note> {
    let adapters = recipe.adapters().iter();
    let adapters = adapters.map(|(path, strength)| format!("{} × {strength}", path.display()));
    let is_changed =
        |planned: &&PlannedTensor| planned.is_merged && planned.decision != Decision::Remove;
    let tensors = tensors.iter().filter(is_changed).count();
    (tensors > 0).then(|| Note::Merged { adapters: adapters.collect(), tensors })
}

fn unmerged(source: &Source) -> Option<Note> {
    let keys = source.adapters().unmatched.clone();
    (!keys.is_empty()).then_some(Note::UnmatchedLora { keys })
}
