use std::collections::{BTreeMap, BTreeSet};

use roundwise_layout::{ExpertStorage, Layout};
use roundwise_rounding::BiasCorrection;
use roundwise_scheme::{Scheme, Tiling};
use roundwise_tensor_file::{Sharding, TensorHeader};

use crate::error::ConvertError;
use crate::model::Preset;
use crate::plan::cache_scales::leave_out_unread;
use crate::plan::decision::{Decision, NotFinite, PlannedTensor};
use crate::plan::dequantize;
use crate::plan::gather_notes::gather_notes;
use crate::plan::header::{PlannedHeader, header_metadata};
use crate::plan::memory::MemoryPlan;
use crate::plan::migrate::Migration;
use crate::plan::note::{Ineffective, Note};
use crate::plan::part::PlannedPart;
use crate::plan::quantize::Quantization;
use crate::plan::questions::Questions;
use crate::plan::reason::Reason;
use crate::plan::refuse::{
    part_for_servers, refuse_codes, refuse_for_program, refuse_lone_file, refuse_mixed_experts,
    refuse_other_model, refuse_subject, refuse_unreadable,
};
use crate::plan::request::PlanRequest;
use crate::plan::stack::Stack;
use crate::recipe::{PlainDtype, Purpose, Recipe, Rounding, Setting, Text};
use crate::source::consumer::comfyui::in_files;
use crate::source::experts::around_expert;
use crate::source::{Opens, SchemeConsumer, Source, Subject};

/// The decision for every tensor of a file. It never changes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The input, as it was recognised.
    pub subject: Subject,
    /// The preset of the main model.
    pub preset: &'static Preset,
    /// Layout of the output.
    pub layout: Layout,
    /// Every tensor of the input, or of its part, by name.
    pub tensors: Vec<PlannedTensor>,
    /// Decisions that someone might have expected otherwise.
    pub notes: Vec<Note>,
    /// How the work stays within the limit of memory.
    pub memory: MemoryPlan,
    pub(crate) purpose: Purpose,
    /// Weights that are known to hold a NaN or an infinity.
    pub(crate) not_finite: NotFinite,
    pub(super) header: PlannedHeader,
    pub(super) sharding: Option<Sharding>,
    pub(super) part: Option<PlannedPart>,
}

impl Plan {
    /// Decides what every tensor becomes, from names, shapes and markers alone.
    ///
    /// # Errors
    /// [`ConvertError::Refused`] for models that have no quantized path in their consumer,
    /// [`ConvertError::Unreadable`] for layers in codes that cannot be decoded,
    /// [`ConvertError::Misfit`] for rules that contradict each other,
    /// [`ConvertError::MemoryLimit`] where one tensor alone needs more memory than is allowed.
    pub fn decide(request: &PlanRequest<'_>) -> Result<Self, ConvertError> {
        let limits = request.limits.for_recipe(request.recipe);
        let request = &PlanRequest { limits, ..*request };
        let PlanRequest { source, recipe, statistics, .. } = *request;
        let path = source.checkpoint.path();
        let subject = source.subject().clone();
        let detected = &subject.detected;
        // 1. Is this the model, and a file that can be made of it?
        refuse_other_model(path, recipe, detected)?;
        let layout = source.repaired.as_ref().map_or(recipe.layout(), |repaired| repaired.layout);
        if request.part.is_some() && layout.is_for_servers() {
            return Err(part_for_servers(path));
        }
        if recipe.makes_folder() {
            refuse_lone_file(source, &subject)?;
        }
        // A preset that was asked for is taken on trust: people know of models that detection has never seen.
        let preset = recipe.preset().unwrap_or_else(|| subject.preset_for(layout));

        // 2. What becomes of every tensor.
        let (mut tensors, mut notes) = decide_all(request, &subject, preset, layout)?;
        leave_out_unread(&mut tensors, &subject, recipe.purpose(), layout);
        if recipe.purpose() != Purpose::Edit {
            // `edit` passes weights on unchanged: defects of the input were there before it.
            refuse_unreadable(path, source, &tensors)?;
        }
        // 3. What has to be said about it.
        notes.extend(gather_notes(request, &subject, &tensors));
        let metadata = match recipe.purpose() {
            Purpose::Edit => recipe.edit().metadata(source, &tensors),
            Purpose::Quantize | Purpose::Decode(_) | Purpose::Migrate | Purpose::Repair => {
                header_metadata(source, layout, &tensors)
            }
        };
        let header = PlannedHeader::new(metadata, source, recipe, statistics.is_some());

        // 4. The share of one machine. Machines share the work out by the whole plan, and not by what
        // each can see, so that every tensor is in exactly one part.
        let part = request.part.map(|part| {
            let mut whole = tensors.clone();
            // Where the whole does not fit, a part of it may.
            let _ = fit_memory(request, &mut whole);
            tensors = part.tensors_of(&whole, recipe.rounding());
            PlannedPart::new(part, whole, recipe)
        });
        // 5. How the work fits into memory. Last, for the limit is about what is left to do here. It
        // changes how a weight is worked on, never what it becomes.
        let memory = fit_memory(request, &mut tensors)?;
        let plan = Self {
            subject,
            preset,
            layout,
            tensors,
            notes,
            memory,
            purpose: recipe.purpose(),
            not_finite: request.not_finite.clone(),
            header,
            sharding: request.limits.sharding(source),
            part,
        };
        let experts = plan.stored_experts();
        // Banks have a note of their own where some of them stay.
        if plan.purpose == Purpose::Quantize
            && layout.is_for_servers()
            && !layout.is_of_transposed_banks()
        {
            refuse_mixed_experts(path, experts)?;
        }
        refuse_for_program(path, recipe, plan.schemes(), |program, scheme| {
            let subject = &plan.subject;
            let opener = subject.opener_other_than(program, scheme, layout, experts)?;
            let stored = plan.described_experts(experts);
            Some((opener, subject.trouble_of_experts(program, scheme, layout, stored)))
        })?;
        let grown = plan.grown(source);
        Ok(Self { notes: plan.notes.into_iter().chain(grown).collect(), ..plan })
    }

    /// Returns a note where codes take more room than the blocks of GGUF that they are made of.
    fn grown(&self, source: &Source) -> Option<Note> {
        let has_blocks = self.tensors.iter().any(|planned| planned.header.is_in_blocks());
        if self.purpose != Purpose::Quantize || self.part.is_some() || !has_blocks {
            return None;
        }
        let sizes = self.tensors.iter().map(|planned| self.output_bytes(planned));
        let bytes = [source.checkpoint.total_bytes(), sizes.fold(0, u64::saturating_add)];
        (bytes[1] > bytes[0]).then(|| Note::Grown { bytes, largest: self.largest_table() })
    }

    /// Returns the largest matrix that a preset keeps, with its bytes: codes of it would make the file smaller.
    pub(crate) fn largest_table(&self) -> Option<(String, u64)> {
        let is_table = |planned: &&PlannedTensor| {
            matches!(planned.reason, Reason::Preset { .. }) && planned.shape.len() == 2
        };
        let tables = self.tensors.iter().filter(is_table);
        let largest = tables.max_by_key(|planned| self.output_bytes(planned))?;
        Some((largest.layer().to_owned(), self.output_bytes(largest)))
    }

    /// Finds what a tensor of the input becomes.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] for one that belongs to another part of the model.
    pub(crate) fn planned(
        &self,
        source: &Source,
        header: &TensorHeader,
    ) -> Result<&PlannedTensor, ConvertError> {
        let planned = self.tensors.iter().find(|planned| planned.header.name == header.name);
        planned.ok_or_else(|| {
            let problem = format!("`{}` belongs to another part of the model", header.name);
            ConvertError::misfit(source.checkpoint.path(), problem)
        })
    }

    /// Returns the weights that become codes.
    pub fn quantized(&self) -> impl Iterator<Item = (&PlannedTensor, Scheme)> {
        quantized(&self.tensors)
    }

    /// Returns the weights that become codes, those of the other parts of the model included.
    pub(crate) fn quantized_of_all_parts(&self) -> impl Iterator<Item = (&PlannedTensor, Scheme)> {
        quantized(self.part.as_ref().map_or(&self.tensors, |part| &part.whole))
    }

    /// Returns the weights whose codes become plain numbers as they are, those of the other parts of the
    /// model included, but for codes of other programs, whose reader refuses what is no number, and blocks of
    /// GGUF.
    pub(crate) fn decoded_of_all_parts(
        &self,
    ) -> impl Iterator<Item = (&PlannedTensor, PlainDtype)> {
        let tensors = self.part.as_ref().map_or(&self.tensors, |part| &part.whole).iter();
        let is_matrix_of_codes = |planned: &&PlannedTensor| {
            !planned.is_foreign && !planned.is_merged && !planned.header.is_in_blocks()
        };
        let as_they_are = tensors.filter(is_matrix_of_codes);
        as_they_are.filter_map(|planned| match planned.decision {
            Decision::Decode { dtype } => Some((planned, dtype)),
            _ => None,
        })
    }

    /// Returns a name for the layers that have something of their scales in common with one: those
    /// of its module, or of its stack in servers' files. `None` for one that chooses alone.
    pub(crate) fn sharing(&self, layer: &str, scheme: Scheme) -> Option<String> {
        if scheme.shares_scales() {
            return Some(layer.rsplit_once('.').map_or("", |(module, _)| module).to_owned());
        }
        // A scale of the tensor, or the factor of NVFP4's block scales, has to be one for all that
        // a server joins into one matrix.
        let is_of_the_tensor =
            scheme.tiling() == Tiling::Tensor || scheme.read_as() == Scheme::NVFP4;
        is_of_the_tensor.then(|| self.stack_of(layer)).flatten()
    }

    /// Returns a name for the layers that the output's program joins into one matrix, so that they need one
    /// scheme; `None` for a layer that stands alone.
    pub(crate) fn stack_of(&self, layer: &str) -> Option<String> {
        if !self.layout.is_for_servers() {
            return None;
        }
        Stack::of(self.subject.preset_for(self.layout), layer).map(|stack| stack.name())
    }

    /// Returns the weights in codes that become plain numbers or are laid out anew.
    pub fn rewritten(&self) -> impl Iterator<Item = &PlannedTensor> {
        let is_rewritten = |planned: &&PlannedTensor| {
            matches!(planned.decision, Decision::Decode { .. } | Decision::Repack { .. })
        };
        self.tensors.iter().filter(is_rewritten)
    }

    /// Returns who opens the weights of each scheme in use, in name order.
    pub fn consumers(&self) -> Vec<SchemeConsumer> {
        let experts = self.stored_experts();
        let files = self.sharding.as_ref().and_then(|_| Some(self.manifest().ok()?.file_count()));
        let answer = |scheme: Scheme| {
            let of_one_file = self.subject.opens_with(scheme, self.layout, experts);
            let is_for_comfyui = scheme.has_scales() && !self.layout.is_for_servers();
            let files = if is_for_comfyui { files.unwrap_or(1) } else { 1 };
            let answer = match in_files(of_one_file, files) {
                Opens::Yes { program } if self.part.is_some() => {
                    Opens::Yes { program: format!("{program}, once all parts are merged") }
                }
                answer => answer,
            };
            SchemeConsumer { scheme, answer }
        };
        self.schemes().into_iter().map(answer).collect()
    }

    /// Returns how experts are stored: single ones, or banks where the layout has codes for them.
    pub(super) fn stored_experts(&self) -> ExpertStorage {
        let preset = self.subject.preset_for(self.layout);
        let mut by_layer = BTreeMap::<&str, BTreeSet<Option<String>>>::new();
        let mut has_scales = false;
        for planned in &self.tensors {
            let name = &planned.header.name;
            let layer = match self.layout.is_of_transposed_banks() {
                true => (planned.shape.len() == 3 && preset.has_coded_bank(name)).then_some(""),
                false => around_expert(name).map(|(before, _)| before),
            };
            let Some(layer) = layer else { continue };
            has_scales |= planned.has_input_scale();
            if planned.shape.len() > 1 {
                let scheme = planned.scheme().map(|scheme| scheme.to_string());
                by_layer.entry(layer).or_default().insert(scheme);
            }
        }
        let all: BTreeSet<_> = by_layer.values().flatten().collect();
        match by_layer.values().all(|schemes| schemes.len() == 1) {
            true if all.iter().eq([&&None]) => ExpertStorage::Kept,
            true if all.len() < 2 && !has_scales => ExpertStorage::Alike,
            true => ExpertStorage::AlikeInLayers,
            false => ExpertStorage::Mixed,
        }
    }

    /// Returns what is special about how experts are stored, for people.
    fn described_experts(&self, experts: ExpertStorage) -> Option<&'static str> {
        let has_scales = || {
            let is_of_expert = |it: &&PlannedTensor| around_expert(&it.header.name).is_some();
            self.tensors.iter().filter(is_of_expert).any(PlannedTensor::has_input_scale)
        };
        match experts {
            ExpertStorage::Alike => None,
            ExpertStorage::AlikeInLayers if has_scales() => {
                Some("with stored scales of their inputs")
            }
            ExpertStorage::AlikeInLayers => Some("in other schemes from layer to layer"),
            ExpertStorage::Kept => Some("as plain numbers beside packed codes"),
            ExpertStorage::Mixed => Some("of which some are in codes, and some stay, as for a NaN"),
        }
    }

    /// Returns a name for the layers that need one scheme: those of [`stack_of`](Self::stack_of), and all experts of a
    /// module; `None` for a layer that stands alone.
    pub(crate) fn scheme_group_of(&self, layer: &str) -> Option<String> {
        let experts = around_expert(layer).filter(|_| self.layout.is_for_servers());
        experts.map(|(before, _)| before.to_owned()).or_else(|| self.stack_of(layer))
    }

    /// Returns the schemes in use, in name order.
    pub fn schemes(&self) -> Vec<Scheme> {
        let schemes = self.tensors.iter().filter_map(PlannedTensor::scheme);
        let by_name: BTreeMap<String, Scheme> =
            schemes.map(|scheme| (scheme.to_string(), scheme)).collect();
        by_name.into_values().collect()
    }

    /// Returns how many kept tensors have each reason, most frequent first.
    pub fn kept_reasons(&self) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::<String, usize>::new();
        let is_kept = |planned: &&PlannedTensor| {
            matches!(planned.decision, Decision::Copy | Decision::Decode { .. })
        };
        for planned in self.tensors.iter().filter(is_kept) {
            *counts.entry(planned.because()).or_default() += 1;
        }
        // Ties by the words, so that the list is the same on every run.
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts
    }

    /// Fails where there is nothing of what the recipe is for.
    ///
    /// # Errors
    /// [`ConvertError::NothingToConvert`], [`ConvertError::NothingInCodes`],
    /// [`ConvertError::NothingToRepair`].
    pub fn check_purpose(&self, source: &Source) -> Result<(), ConvertError> {
        let path = || source.checkpoint.path().to_owned();
        // The weights may all belong to other parts.
        let has_codes = self.quantized_of_all_parts().next().is_some();
        match self.purpose {
            Purpose::Quantize if !has_codes => {
                Err(ConvertError::NothingToConvert { path: path(), reasons: self.why_nothing() })
            }
            Purpose::Decode(_) | Purpose::Migrate
                if self.tensors.is_empty() && self.part.is_none() =>
            {
                Err(ConvertError::NothingToConvert { path: path(), reasons: self.why_nothing() })
            }
            Purpose::Decode(_) | Purpose::Migrate if self.rewritten().next().is_none() => {
                let headers = source.checkpoint.tensors().iter();
                let blocks = headers.filter(|it| it.is_in_blocks()).map(TensorHeader::stored_as);
                let blocks = BTreeSet::from_iter(blocks).into_iter().collect();
                let unscaled = |it: &&PlannedTensor| it.reason == Reason::Unscaled;
                let unscaled = self.tensors.iter().filter(unscaled).count();
                Err(ConvertError::NothingInCodes { path: path(), blocks, unscaled })
            }
            Purpose::Repair
                if source.repaired.as_ref().is_none_or(|repaired| repaired.repairs.is_empty()) =>
            {
                Err(ConvertError::NothingToRepair { path: path() })
            }
            _ => Ok(()),
        }
    }

    /// Returns the reasons for which tensors are kept, and notes.
    fn why_nothing(&self) -> Text {
        const SHOWN: usize = 5;
        if self.tensors.is_empty() {
            return "the file holds no tensor".into();
        }
        let kept = self.kept_reasons().into_iter().take(SHOWN);
        let kept = kept.map(|(reason, count)| format!("{count} kept: {reason}").into());
        let notes = self.notes.iter().map(|note| Text::from("note: ") + note.text());
        Text::joined(kept.chain(notes), "\n  ")
    }
}

/// Decides every tensor, and notes settings that change nothing.
fn decide_all(
    request: &PlanRequest<'_>,
    subject: &Subject,
    preset: &'static Preset,
    layout: Layout,
) -> Result<(Vec<PlannedTensor>, Vec<Note>), ConvertError> {
    let PlanRequest { source, recipe, not_finite, .. } = *request;
    let detected = &subject.detected;
    let path = source.checkpoint.path();
    let headers = source.checkpoint.tensors().iter();
    let planned = |header: &TensorHeader, (decision, reason): (Decision, Reason)| PlannedTensor {
        header: header.clone(),
        shape: source.shape_of(header),
        decision,
        reason,
        is_merged: source.adapters().change(&header.name),
        is_in_codes: source.is_in_codes(header),
        is_foreign: source.foreign_layer(header).is_some(),
        is_transposed: layout.is_of_transposed_banks(),
    };
    match recipe.purpose() {
        Purpose::Quantize => {
            refuse_codes(path, recipe, subject, preset)?;
            let shapes = source.shapes();
            let shapes = &shapes;
            let questions = Questions { source, recipe, detected, preset, shapes, not_finite };
            let mut quantization = Quantization::new(questions);
            let tensors: Vec<_> =
                headers.map(|header| planned(header, quantization.decide(header))).collect();
            let mut notes = quantization.finish()?;
            notes.extend(no_corrected_bias(recipe, &tensors));
            Ok((tensors, notes))
        }
        Purpose::Decode(dtype) => {
            let decide =
                |header| planned(header, dequantize::decide(source, header, dtype, not_finite));
            Ok((headers.map(decide).collect(), vec![]))
        }
        Purpose::Migrate | Purpose::Repair => {
            if recipe.purpose() == Purpose::Migrate && layout.is_for_servers() {
                refuse_subject(path, recipe, subject)?;
            }
            let mut migration = Migration::new(source, layout, detected);
            let decide = |header| Ok(planned(header, migration.decide(header)?));
            let tensors = headers.map(decide).collect::<Result<_, ConvertError>>()?;
            // Before the layers that do not fit: whether an unreadable layer would fit cannot be known.
            refuse_unreadable(path, source, &[])?;
            migration.finish()?;
            Ok((tensors, vec![]))
        }
        Purpose::Edit => {
            let edit = recipe.edit();
            edit.check(source)?;
            Ok((
                headers.map(|header| planned(header, edit.decide(source, header))).collect(),
                vec![],
            ))
        }
    }
}

fn quantized(tensors: &[PlannedTensor]) -> impl Iterator<Item = (&PlannedTensor, Scheme)> {
    tensors.iter().filter_map(|planned| match planned.decision {
        Decision::Quantize { scheme, .. } => Some((planned, scheme)),
        _ => None,
    })
}

/// Returns a note where biases are to be corrected and there are none.
fn no_corrected_bias(recipe: &Recipe, tensors: &[PlannedTensor]) -> Option<Note> {
    let is_asked = recipe.bias_correction() != BiasCorrection::None;
    let is_corrected = |planned: &PlannedTensor| planned.decision == Decision::Correct;
    let setting = Setting::new("method_options.bias_correction");
    (is_asked && !tensors.iter().any(is_corrected)).then_some(Note::WithoutEffect {
        asked: Ineffective { setting, pattern: None },
        because: "changes nothing: no converted layer has a bias that may change",
    })
}

fn fit_memory(
    request: &PlanRequest<'_>,
    tensors: &mut [PlannedTensor],
) -> Result<MemoryPlan, ConvertError> {
    let PlanRequest { source, recipe, workers, limits, .. } = *request;
    let limit = limits.memory_bytes;
    // Correcting a bias takes the whole of its weight.
    let may_band = recipe.bias_correction() == BiasCorrection::None;
    let rounding = recipe.rounding();
    MemoryPlan::fit(tensors, rounding, recipe.scale_rule_without_inputs(), workers, limit, may_band)
        .map_err(|needed| ConvertError::MemoryLimit {
            path: source.checkpoint.path().to_owned(),
            needed,
            limit: limit.unwrap_or(u64::MAX),
            holds_weights_whole: rounding != Rounding::Nearest,
        })
}
