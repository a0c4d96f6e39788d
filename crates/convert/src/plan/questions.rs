//! The one list of questions that decides what a tensor of a model becomes.
//!
//! [`Questions::ask`] asks all of them in the order of precedence. The first answer with a verdict
//! decides; explanations print every answer, and notes about settings without effect compare the
//! first verdict with the one that would follow without the setting.
//!
//! 1. Correctness: removal by the preset, scales and markers of layers in codes, corrected biases, what is no
//!    matrix of numbers.
//! 2. `keep`.
//! 3. Programs: models that none reads in codes, layers that servers stack with a kept one.
//! 4. Wishes by name: `rules`, `include`, and `fallback_scheme` for what presets keep.
//! 5. What presets protect, then sizes, then schemes that a budget chose.
//! 6. The recipe's scheme.
//!
//! Whatever asks for codes keeps the weight where the codes are not possible, and says why.

use regex::Regex;
use roundwise_layout::{
    LayerShape, Layout, MatmulPrecision, OUTPUT_HEAD, StoredLayer, bias_of, layer_of,
    layer_of_input_scale, layer_of_legacy_input_scale, layer_of_weight, reads_input_scale,
    reads_tables, weight_of,
};
use roundwise_rounding::BiasCorrection;
use roundwise_scheme::{Scheme, Tiling};
use roundwise_tensor_file::TensorHeader;

use crate::model::{Detected, Preset, ReadAs, Shapes};
use crate::plan::decision::{Decision, NotFinite};
use crate::plan::reason::Reason;
use crate::plan::stack::Stack;
use crate::recipe::Recipe;
use crate::source::Source;
use crate::source::experts::{bank_shape, is_expert_bank};
use crate::source::model_config::ServedModel;
use crate::source::numbers::{float_dtype, matrix_shape};

/// A question about a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Question {
    /// Whether the preset removes it.
    Removal,
    /// Whether it is a scale or a marker of another tensor's codes.
    SideTensor,
    /// Whether it is a bias that is corrected with its weight.
    CorrectedBias,
    /// Whether it is a matrix of numbers.
    Matrix,
    /// A pattern of `keep`.
    Keep(usize),
    /// Whether the preset refuses all layers of its model.
    Refusal(&'static str),
    /// Whether a layer that servers store as this one is kept.
    Stack,
    /// A rule of `rules`.
    Rule(usize),
    /// A pattern of `include`.
    Include(usize),
    /// `fallback_scheme`, for what presets keep.
    Fallback,
    /// The preset of its model.
    Preset(&'static str),
    /// The keep-list of all models.
    BaseList,
    /// The layers that distilled models need.
    Distillation,
    /// `min_size`.
    MinSize,
    /// `heuristic`.
    Heuristic,
    /// The scheme of this very layer, in `assign`.
    Assigned,
    /// The recipe's scheme.
    Scheme,
}

/// The outcome for a tensor that an answer asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    Remove,
    Keep,
    Correct,
    Codes(Scheme),
}

/// An answer that decides, unless an earlier one does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) wish: Wish,
    pub(crate) reason: Reason,
}

impl Verdict {
    /// Returns the decision about a tensor that holds no codes, or is to lose them, and its reason.
    pub(crate) fn of_plain_tensor(self) -> (Decision, Reason) {
        let decision = match self.wish {
            Wish::Remove => Decision::Remove,
            Wish::Correct => Decision::Correct,
            Wish::Keep | Wish::Codes(_) => Decision::Copy,
        };
        (decision, self.reason)
    }
}

/// The answer of one question about a tensor.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) question: Question,
    pub(crate) verdict: Option<Verdict>,
    /// Whether the base keep-list would keep the tensor and is ignored.
    pub(crate) is_waived: bool,
}

impl Answer {
    fn new(question: Question, verdict: Option<Verdict>) -> Self {
        Self { question, verdict, is_waived: false }
    }

    fn kept(question: Question, reason: Option<Reason>) -> Self {
        Self::new(question, reason.map(|reason| Verdict { wish: Wish::Keep, reason }))
    }
}

/// Returns the first verdict among answers.
///
/// [`Question::Scheme`] always has one.
pub(crate) fn first_verdict(answers: &[Answer]) -> Option<(Question, &Verdict)> {
    answers.iter().find_map(|answer| Some((answer.question, answer.verdict.as_ref()?)))
}

fn wish(answers: &[Answer]) -> Wish {
    let (_, verdict) = first_verdict(answers).expect("matrix or scheme always decides");
    verdict.wish.clone()
}

/// Everything that the questions about a file's tensors look at.
#[derive(Clone, Copy)]
pub(crate) struct Questions<'a> {
    pub(crate) source: &'a Source,
    pub(crate) recipe: &'a Recipe,
    pub(crate) detected: &'a Detected,
    /// The preset of the main model.
    pub(crate) preset: &'static Preset,
    pub(crate) shapes: &'a Shapes<'a>,
    pub(crate) not_finite: &'a NotFinite,
}

impl<'a> Questions<'a> {
    /// Asks every question about a tensor, in the order of precedence.
    pub(crate) fn ask(&self, header: &TensorHeader) -> Vec<Answer> {
        let mut answers = self.ask_alone(header);
        let refusal = |answer: &Answer| matches!(answer.question, Question::Refusal(_));
        if let Some(at) = answers.iter().position(refusal) {
            // Like a refusal it is about what programs can load, and comes before wishes.
            let stack = self.stack(header, &answers);
            answers.splice(at + 1..at + 1, stack);
        }
        answers
    }

    /// Asks every question but that of its stack, whose answer depends on these of other layers.
    fn ask_alone(&self, header: &TensorHeader) -> Vec<Answer> {
        let layer = layer_of(&header.name);
        let matrix = self.matrix(header);
        let is_candidate = matrix.verdict.is_none();
        // 1. What is no weight to decide about: it goes with something else, or it cannot be codes at all. First,
        //    because no wish of a recipe can change that.
        let mut answers = vec![self.removal(header), self.side_tensor(header)];
        answers.extend(self.corrected_bias(header));
        answers.push(matrix);
        // 2. `keep` before everything that asks for codes: keeping a weight is always possible and never wrong. It
        //    is asked of every tensor, so that a pattern that names one is not said to match nothing.
        answers.extend(self.keep(layer));
        if !is_candidate {
            return answers;
        }
        // 3. Programs before wishes: codes that nothing reads are refused whoever asks for them.
        answers.push(self.refusal(header));
        // 4. What somebody said of single layers, the more exact first; it outranks what is known of the family.
        answers.extend(self.rules(header, layer));
        answers.extend(self.include(header, layer));
        answers.extend(self.fallback(header, layer));
        // 5. What is known of the family, then of sizes.
        answers.extend(self.presets(header, layer));
        answers.push(self.min_size(header));
        answers.extend(self.heuristic(header, layer));
        answers.extend(self.assigned(header, layer));
        // 6. Everything else becomes what the recipe says.
        answers.push(self.scheme(header));
        answers
    }

    /// Returns the verdict about a tensor.
    pub(crate) fn verdict(&self, header: &TensorHeader) -> Verdict {
        let answers = self.ask(header);
        let (_, verdict) = first_verdict(&answers).expect("matrix or scheme always decides");
        verdict.clone()
    }

    /// Returns the preset of the component that a tensor belongs to.
    pub(crate) fn preset_of(&self, name: &str) -> &'static Preset {
        if self.recipe.layout().is_for_servers() {
            return self.preset;
        }
        let component = self.detected.component_of(name);
        match component.prefix == self.detected.main.prefix {
            true => self.preset,
            false => component.preset,
        }
    }

    fn removal(&self, header: &TensorHeader) -> Answer {
        let because = self.preset_of(&header.name).remove_reason(&header.name, self.shapes);
        let removed = |because: &str| Reason::Removed(because.to_owned());
        let verdict =
            because.map(|because| Verdict { wish: Wish::Remove, reason: removed(because) });
        Answer::new(Question::Removal, verdict)
    }

    /// Answers for a scale or marker: it goes with its layer; only an activation scale may outlive
    /// it.
    fn side_tensor(&self, header: &TensorHeader) -> Answer {
        let owner = self.source.stored.side_tensors.get(&header.name);
        let verdict = owner.map(|owner| match served_layer(self.source, owner) {
            Err(verdict) if verdict.wish == Wish::Keep && self.is_written_anew(header, owner) => {
                Verdict { wish: Wish::Remove, reason: Reason::Orphan }
            }
            Err(verdict) => verdict,
            Ok(stored) if self.keeps_input_scale(header, stored) => {
                Verdict { wish: Wish::Keep, reason: Reason::InputScale }
            }
            Ok(stored) if self.misses_input_scale(header, stored) => {
                Verdict { wish: Wish::Remove, reason: Reason::OtherInputScale }
            }
            Ok(_) => Verdict { wish: Wish::Remove, reason: Reason::Superseded },
        });
        let is_stray = self.source.stored.strays.contains(&header.name);
        let stray = is_stray.then_some(Verdict { wish: Wish::Remove, reason: Reason::Stray });
        Answer::new(Question::SideTensor, verdict.or(stray))
    }

    /// Returns whether the codes that a layer of plain numbers gets have a tensor of this name themselves, or would be
    /// read with it.
    fn is_written_anew(&self, header: &TensorHeader, owner: &str) -> bool {
        let Some(weight) = self.source.checkpoint.get(&weight_of(owner)) else { return false };
        let Some(shape) = matrix_shape(&self.source.shape_of(weight)) else { return false };
        let Wish::Codes(scheme) = self.verdict(weight).wish else { return false };
        let layout = self.recipe.layout();
        let tensors = layout.layer_tensors(owner, scheme, MatmulPrecision::Any, shape);
        // Programs round the inputs of a layer in codes by a scale of them, and heed none beside plain numbers.
        let is_of_inputs = layer_of_input_scale(&header.name).is_some() && scheme.has_scales();
        is_of_inputs || tensors.iter().any(|tensor| tensor.name == header.name)
    }

    /// Returns whether an activation scale still holds for the codes that its layer gets.
    fn keeps_input_scale(&self, header: &TensorHeader, stored: &StoredLayer) -> bool {
        // The weight goes by the name of its layer, whatever the tensor with its codes is called.
        let weight = self.source.checkpoint.get(&weight_of(&stored.layer));
        let stays = |weight: &TensorHeader| {
            // It is measured for the range of E4M3 (largest input / 448): codes of another grid need another.
            let wish = self.verdict(weight).wish;
            let is_fp8 = stored.scheme == Scheme::FP8 && wish == Wish::Codes(Scheme::FP8);
            is_fp8 || reads_input_scale(stored.scheme) && self.keeps_codes(weight, &wish)
        };
        layer_of_input_scale(&header.name).is_some()
            && self.recipe.layout() == Layout::Comfy
            && weight.is_some_and(stays)
    }

    /// Returns whether programs would round inputs by this scale if it were there for the codes that its layer gets.
    fn misses_input_scale(&self, header: &TensorHeader, stored: &StoredLayer) -> bool {
        let is_measured = layer_of_input_scale(&header.name).is_some()
            || layer_of_legacy_input_scale(&header.name).is_some();
        let weight = self.source.checkpoint.get(&weight_of(&stored.layer));
        let wish = weight.map(|weight| self.verdict(weight).wish);
        is_measured && matches!(wish, Some(Wish::Codes(scheme)) if reads_input_scale(scheme))
    }

    /// Returns whether the codes that the input has of a weight are those that it is to become.
    ///
    /// - `wish`: for the weight
    pub(crate) fn keeps_codes(&self, header: &TensorHeader, wish: &Wish) -> bool {
        let Some(stored) = self.source.stored_layer(header) else { return false };
        // What layers have in common in the output may be other numbers than in the input: scales of a stack in
        // servers' files, and of a module.
        let stands_alone = !self.recipe.layout().is_for_servers() && !stored.scheme.shares_scales();
        stands_alone
            && stored.experts.is_none()
            && !self.source.stored.odd_scales.contains_key(&stored.layer)
            && !self.source.adapters().change(&header.name)
            && *wish == Wish::Codes(stored.scheme)
    }

    /// Biases change with the codes of their weight; layers without a bias are not given one.
    fn corrected_bias(&self, header: &TensorHeader) -> Option<Answer> {
        if self.recipe.bias_correction() == BiasCorrection::None {
            return None;
        }
        let layer = header.name.strip_suffix(".bias")?;
        let weight = self.source.checkpoint.get(&weight_of(layer))?;
        let wish = self.verdict(weight).wish;
        let is_corrected = matches!(wish, Wish::Codes(_))
            && self.bias_of(weight, &wish).is_some_and(|bias| bias.name == header.name);
        let verdict = Verdict { wish: Wish::Correct, reason: Reason::CorrectedBias };
        Some(Answer::new(Question::CorrectedBias, is_corrected.then_some(verdict)))
    }

    /// Returns the bias that is to be corrected with the codes of a weight.
    ///
    /// - `wish`: for the weight
    pub(crate) fn bias_of(&self, weight: &TensorHeader, wish: &Wish) -> Option<&'a TensorHeader> {
        if self.recipe.bias_correction() == BiasCorrection::None {
            return None;
        }
        // Codes that stay have no error that a bias could take up.
        if self.keeps_codes(weight, wish) {
            return None;
        }
        // A bias that is scaled elsewhere, kept or removed by name, or no plain numbers, is not
        // touched.
        let bias = self.source.checkpoint.get(&bias_of(layer_of(&weight.name)))?;
        let rows = *self.source.shape_of(weight).first()?;
        let is_kept = self.recipe.keep().iter().any(|pattern| pattern.is_match(&bias.name));
        let is_plain = float_dtype(bias.dtype).is_some()
            && !self.source.stored.side_tensors.contains_key(&bias.name);
        let is_removed = self.removal(bias).verdict.is_some();
        (bias.shape == [rows] && is_plain && !is_kept && !is_removed).then_some(bias)
    }

    fn matrix(&self, header: &TensorHeader) -> Answer {
        let is_stored = self.source.is_in_codes(header);
        let foreign = self.source.foreign_layer(header);
        let rank = foreign.map_or(header.shape.len(), |foreign| foreign.shape.len());
        let reason = if self.has_coded_bank(header) {
            // Each expert is a matrix.
            (header.element_count() == 0).then_some(Reason::Empty)
        } else if layer_of_weight(&header.name).is_none() {
            // Some banks of experts are called without `.weight`.
            let is_bank = is_expert_bank(header) || foreign.is_some() && rank == 3;
            Some(if is_bank { Reason::ExpertBank } else { Reason::NotAWeight })
        // Codes are of matrices: ComfyUI has no scaled convolution, ignores the scale of one and
        // computes with its codes.
        } else if rank < 2 || rank > 2 && (foreign.is_some() || !self.stores_plain_numbers()) {
            let is_coded_bank =
                self.source.stored_layer(header).is_some_and(|it| it.experts.is_some());
            let is_bank = is_expert_bank(header) || is_coded_bank || foreign.is_some() && rank == 3;
            Some(if is_bank { Reason::ExpertBank } else { Reason::Rank(rank) })
        } else if header.element_count() == 0 {
            Some(Reason::Empty)
        } else if !is_stored && float_dtype(header.dtype).is_none() {
            Some(Reason::NotFloat(header.dtype.name()))
        } else {
            None
        };
        Answer::kept(Question::Matrix, reason)
    }

    /// Returns whether a weight is a bank of experts that the layout's program reads in codes.
    pub(crate) fn has_coded_bank(&self, header: &TensorHeader) -> bool {
        // Adapters are added to whole tensors.
        !self.source.adapters().change(&header.name)
            && bank_shape(&self.source.shape_of(header)).is_some()
            && match self.recipe.layout() {
                Layout::Comfy => self.has_bank_of_comfyui(header),
                Layout::Mxfp4 => self.has_bank_of_servers(header),
                Layout::ComfyLegacy
                | Layout::CompressedTensors
                | Layout::Fp8
                | Layout::ModelOpt => false,
            }
    }

    fn has_bank_of_servers(&self, header: &TensorHeader) -> bool {
        let is_bank = is_expert_bank(header) && layer_of_weight(&header.name).is_none()
            || self.source.stored.expert_blocks.contains_key(&header.name);
        let preset = self.source.subject().preset_for(self.recipe.layout());
        is_bank && preset.has_coded_bank(&header.name)
    }

    fn has_bank_of_comfyui(&self, header: &TensorHeader) -> bool {
        let stored = self.source.stored_layer(header);
        let is_bank = match stored {
            Some(stored) => stored.experts.is_some(),
            None => is_expert_bank(header) && layer_of_weight(&header.name).is_some(),
        };
        is_bank && self.detected.component_of(&header.name).has_coded_banks
    }

    /// Returns the shape of what becomes codes of a scheme: a bank's experts are matrices by themselves.
    fn layer_shape(&self, header: &TensorHeader, scheme: Scheme) -> Option<LayerShape> {
        let shape = self.source.shape_of(header);
        let is_transposed = self.recipe.layout().is_of_transposed_banks();
        match scheme.has_scales() && self.has_coded_bank(header) {
            true if is_transposed => bank_shape(&shape).map(LayerShape::transposed),
            true => bank_shape(&shape),
            false => matrix_shape(&shape).map(LayerShape::from),
        }
    }

    /// Returns whether a scheme of the recipe stores plain numbers, which need no matrix.
    fn stores_plain_numbers(&self) -> bool {
        let rules = self.recipe.rules().iter().map(|rule| rule.scheme);
        // Any scheme of the recipe may become that of the weight, which is asked later.
        let schemes = rules.chain(self.recipe.fallback_scheme()).chain([self.recipe.scheme()]);
        schemes.into_iter().any(|scheme| !scheme.has_scales())
    }

    fn keep(&self, layer: &str) -> impl Iterator<Item = Answer> {
        self.recipe.keep().iter().enumerate().map(move |(index, pattern)| {
            Answer::kept(Question::Keep(index), matching(pattern, layer).map(Reason::Kept))
        })
    }

    /// Answers for components of a checkpoint that have no path for codes in any program. Whether
    /// the main model has one is known before.
    fn refusal(&self, header: &TensorHeader) -> Answer {
        let own = self.detected.component_of(&header.name);
        let is_comfyui = !self.recipe.layout().is_for_servers();
        // The main model's refusal was an error before this; a component's only keeps it.
        let because =
            own.no_codes.filter(|_| is_comfyui).filter(|_| own.prefix != self.detected.main.prefix);
        let preset = &own.preset.name;
        let reason = because
            .map(|because| Reason::Preset { preset: preset.clone(), because: because.to_owned() });
        Answer::kept(Question::Refusal(preset), reason)
    }

    /// Returns the stack of servers that a layer is part of.
    pub(crate) fn stack_of<'b>(&'b self, layer: &'b str) -> Option<Stack<'b>> {
        let is_stacked = self.recipe.layout().is_for_servers();
        is_stacked
            .then(|| Stack::of(self.source.subject().preset_for(self.recipe.layout()), layer))?
    }

    /// Answers for the other layers of its stack: servers have one way of storing for all of it, so that one
    /// layer that is kept keeps them all.
    fn stack(&self, header: &TensorHeader, answers: &[Answer]) -> Option<Answer> {
        let stack = self.stack_of(layer_of(&header.name))?;
        let is_kept = |layer: &String| {
            // Banks of experts are called without `.weight`.
            let weight = self.source.checkpoint.get(&weight_of(layer));
            let weight = weight.or_else(|| self.source.checkpoint.get(layer));
            let weight = weight.filter(|weight| {
                self.source.shape_of(weight).len() == 2 || self.has_coded_bank(weight)
            });
            // Without its own stack, whose answer would ask for this layer again.
            let wish = weight.map(|weight| wish(&self.ask_alone(weight)));
            wish.is_some_and(|wish| matches!(wish, Wish::Keep | Wish::Correct))
        };
        let kept = match wish(answers) {
            Wish::Codes(_) => stack.layers().find(is_kept),
            Wish::Remove | Wish::Keep | Wish::Correct => None,
        };
        Some(Answer::kept(Question::Stack, kept.map(Reason::StackedWith)))
    }

    fn rules(&self, header: &TensorHeader, layer: &str) -> impl Iterator<Item = Answer> {
        self.recipe.rules().iter().enumerate().map(move |(index, rule)| {
            let reason = matching(&rule.pattern, layer).map(Reason::Rule);
            let verdict = reason.map(|reason| self.codes(header, rule.scheme, reason));
            Answer::new(Question::Rule(index), verdict)
        })
    }

    fn include(&self, header: &TensorHeader, layer: &str) -> impl Iterator<Item = Answer> {
        self.recipe.include().iter().enumerate().map(move |(index, pattern)| {
            let reason = matching(pattern, layer).map(Reason::Included);
            let verdict = reason.map(|reason| self.codes(header, self.scheme_of(layer), reason));
            Answer::new(Question::Include(index), verdict)
        })
    }

    /// Returns the scheme of a layer that no rule has one for.
    fn scheme_of(&self, layer: &str) -> Scheme {
        self.recipe.assigned().get(layer).copied().unwrap_or(self.recipe.scheme())
    }

    /// Answers for the fallback scheme: it applies to layers that presets keep, except those of the
    /// base list, which most programs read as plain numbers.
    fn fallback(&self, header: &TensorHeader, layer: &str) -> Option<Answer> {
        let scheme = self.recipe.fallback_scheme()?;
        // The presets are asked again here, without the fallback, which would otherwise answer itself.
        let mut presets = self.presets(header, layer);
        let is_base = presets
            .iter()
            .any(|answer| answer.question == Question::BaseList && answer.verdict.is_some());
        let because = presets.drain(..).find_map(|answer| answer.verdict);
        let verdict = because.filter(|_| !is_base).map(|because| {
            let because = Box::new(because.reason);
            self.codes(header, scheme, Reason::Fallback { because })
        });
        Some(Answer::new(Question::Fallback, verdict))
    }

    fn presets(&self, header: &TensorHeader, layer: &str) -> Vec<Answer> {
        let own = self.preset_of(&header.name);
        let kept = |question, preset: &Preset| {
            let rule = preset.keep_rule(layer);
            let reason = rule.map(|rule| Reason::Preset {
                preset: preset.name.clone(),
                because: rule.reason.clone(),
            });
            Answer::kept(question, reason)
        };
        // Asked even where it is ignored, so that a note can tell whether ignoring it changes anything.
        let mut base = kept(Question::BaseList, Preset::base());
        if !self.recipe.uses_base_list() {
            let is_waived = base.verdict.take().is_some();
            base = Answer { is_waived, ..base };
        }
        let distillation = self.recipe.distillation();
        [kept(Question::Preset(&own.name), own), base]
            .into_iter()
            .chain(distillation.map(|preset| kept(Question::Distillation, preset)))
            .collect()
    }

    fn min_size(&self, header: &TensorHeader) -> Answer {
        let elements = self.source.shape_of(header).iter().product();
        let min_size = self.recipe.min_size();
        let reason = (elements < min_size).then_some(Reason::Small { elements, min_size });
        Answer::kept(Question::MinSize, reason)
    }

    fn heuristic(&self, header: &TensorHeader, layer: &str) -> Option<Answer> {
        let heuristic = self.recipe.heuristic()?;
        // By the shape of the numbers: that of packed codes says nothing about them.
        let scheme = self.scheme_of(layer);
        let shape = self.layer_shape(header, scheme);
        let skipped =
            shape.and_then(|shape| heuristic.skips(scheme, shape.matrix.map(|size| size as u64)));
        Some(Answer::kept(Question::Heuristic, skipped.map(Reason::Heuristic)))
    }

    /// Answers for a scheme that a budget has chosen for the layer. It comes after whatever keeps a layer:
    /// a budget chooses among schemes, not what is converted.
    fn assigned(&self, header: &TensorHeader, layer: &str) -> Option<Answer> {
        if self.recipe.assigned().is_empty() {
            return None;
        }
        let scheme = self.recipe.assigned().get(layer);
        let verdict = scheme.map(|scheme| self.codes(header, *scheme, Reason::Assigned));
        Some(Answer::new(Question::Assigned, verdict))
    }

    fn scheme(&self, header: &TensorHeader) -> Answer {
        let reason = match self.source.shape_of(header).len() {
            // A budget names the schemes that differ from the recipe's, which it has chosen as well.
            2 if !self.recipe.assigned().is_empty() => Reason::Assigned,
            2 => Reason::Default,
            _ if self.recipe.scheme().has_scales() && self.has_coded_bank(header) => {
                Reason::Default
            }
            _ => Reason::Convolution,
        };
        // There is always a verdict here, so that some question decides about every matrix.
        let verdict = self.codes(header, self.recipe.scheme(), reason);
        Answer::new(Question::Scheme, Some(verdict))
    }

    /// Returns the verdict for codes of a scheme, or for keeping the weight although they were
    /// asked for.
    fn codes(&self, header: &TensorHeader, scheme: Scheme, reason: Reason) -> Verdict {
        match self.check_possible(header, scheme) {
            Ok(()) => Verdict { wish: Wish::Codes(scheme), reason },
            Err(reason) => Verdict { wish: Wish::Keep, reason },
        }
    }

    fn check_possible(&self, header: &TensorHeader, scheme: Scheme) -> Result<(), Reason> {
        // What a reading found comes first: no scheme holds a NaN.
        if let Some(&row) = self.not_finite.get(&header.name) {
            return Err(Reason::NotFinite { row });
        }
        let shape = self.source.shape_of(header);
        // Numbers are stored under the name of a weight, by which no program looks for such a bank.
        if !scheme.has_scales() && layer_of_weight(&header.name).is_none() {
            return Err(Reason::ExpertBank);
        }
        if shape.len() != 2 && scheme.has_scales() && !self.has_coded_bank(header) {
            return Err(Reason::Rank(shape.len()));
        }
        if let Some(because) = self.read_as_numbers(header, scheme) {
            return Err(Reason::ReadAsNumbers(because.to_owned()));
        }
        let Some(layer_shape) = self.layer_shape(header, scheme) else {
            return Err(Reason::Ragged("too large for this machine".to_owned()));
        };
        let [rows, cols] = layer_shape.matrix;
        let prefix = &self.detected.component_of(&header.name).prefix;
        let layout = self.recipe.layout();
        // Its marker stands once, before the names of one component; loaders look for none elsewhere.
        if layout == Layout::ComfyLegacy && *prefix != self.detected.main.prefix {
            return Err(Reason::OtherPart);
        }
        scheme.covers(rows, cols).map_err(|error| Reason::Ragged(error.to_string()))?;
        layout.takes(scheme, layer_shape).map_err(|error| Reason::Ragged(error.to_string()))?;
        self.check_shares(layer_of(&header.name), scheme, [rows, cols])?;
        // Packed or padded codes have another shape, by which the loader would take the file for another model.
        if self.is_probe(&header.name) && !layout.keeps_shape(scheme, [rows, cols]) {
            return Err(Reason::Probe);
        }
        Ok(())
    }

    /// Returns what a weight is to programs that take its codes for numbers, where they do.
    fn read_as_numbers(&self, header: &TensorHeader, scheme: Scheme) -> Option<&'static str> {
        if !scheme.has_scales() {
            return None;
        }
        let layer = layer_of(&header.name);
        if self.is_tied_head(layer) {
            return Some("the configuration ties it to the embedding, whose rows are looked up");
        }
        // A preset that was asked for may know of none; the module that reads the weight is the same.
        let own = self.detected.component_of(&header.name).preset;
        let presets = [own, self.preset_of(&header.name), Preset::base()];
        let mut rules = presets.into_iter().flat_map(|preset| &preset.keep);
        let is_read = |read_as: ReadAs| match read_as {
            ReadAs::Layer => true,
            ReadAs::Table => reads_tables(self.recipe.layout(), scheme),
            ReadAs::Numbers => false,
        };
        // The name last: few rules are of anything but layers, and patterns cost most.
        let rule = rules.find(|rule| !is_read(rule.read_as) && rule.layers.matches(layer));
        rule.map(|rule| rule.reason.as_str())
    }

    /// Returns whether servers multiply by the embedding in place of this layer.
    fn is_tied_head(&self, layer: &str) -> bool {
        let served = self.source.subject().served.as_ref();
        let is_head = layer.rsplit('.').next() == Some(OUTPUT_HEAD);
        self.recipe.layout().is_for_servers()
            && is_head
            && served.is_some_and(ServedModel::has_tied_head)
    }

    /// Checks that each device of a server gets whole blocks of a layer.
    fn check_shares(
        &self,
        layer: &str,
        scheme: Scheme,
        [rows, cols]: [usize; 2],
    ) -> Result<(), Reason> {
        let devices = self.recipe.tensor_parallel();
        let Tiling::Block { rows: height, cols: width } = scheme.tiling() else { return Ok(()) };
        // Of `down_proj` and the like servers give each device a share of the columns, of all
        // others a share of the rows.
        let last = layer.rsplit('.').next().unwrap_or(layer);
        let is_by_columns = self.preset.split_by_columns.iter().any(|name| name == last);
        let (what, size, block) = match is_by_columns {
            true => ("columns", cols, width),
            false => ("rows", rows, height.max(scheme.rows_in_word())),
        };
        match size.is_multiple_of(devices.saturating_mul(block)) {
            true => Ok(()),
            false => Err(Reason::Ragged(format!(
                "{devices} devices cannot share out {size} {what} in whole blocks of {block}"
            ))),
        }
    }

    /// Returns whether a loader tells its model apart by the stored shape of this weight.
    fn is_probe(&self, name: &str) -> bool {
        if self.recipe.layout().is_for_servers() {
            return false;
        }
        let component = self.detected.component_of(name);
        // A preset that was asked for may know of no probes; the loader looks at them all the same.
        let presets = [component.preset, self.preset_of(name)];
        presets.into_iter().any(|preset| preset.is_probe(name))
    }
}

fn matching(pattern: &Regex, layer: &str) -> Option<String> {
    pattern.is_match(layer).then(|| pattern.to_string())
}

/// Returns the stored layer that a scale or a marker serves, or the verdict about one that serves
/// none.
///
/// - `owner`: the layer, nothing for the whole file's markers
pub(crate) fn served_layer<'a>(
    source: &'a Source,
    owner: &str,
) -> Result<&'a StoredLayer, Verdict> {
    let verdict = |wish, reason| Err(Verdict { wish, reason });
    match source.stored.layers.get(owner) {
        Some(stored) => Ok(stored),
        None if owner.is_empty() => verdict(Wish::Remove, Reason::Superseded),
        None if source.stored.foreign.contains_key(owner) => {
            verdict(Wish::Remove, Reason::Superseded)
        }
        None if source.stored.says_it_is_quantized() => verdict(Wish::Remove, Reason::Orphan),
        // In a model of plain numbers it is a parameter that only looks like a scale.
        None => verdict(Wish::Keep, Reason::NotAWeight),
    }
}
