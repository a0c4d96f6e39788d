//! Decisions for a model whose weights are to become codes.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_layout::{MatmulPrecision, layer_of};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::plan::decision::Decision;
use crate::plan::effects::Effects;
use crate::plan::note::Note;
use crate::plan::questions::{Answer, Question, Questions, Wish, first_verdict};
use crate::plan::reason::Reason;
use crate::recipe::{Complaint, PlainDtype, Recipe, Setting, Text};
use crate::source::experts::is_expert_bank;
use crate::source::numbers::fp8_grid;

/// Asks the questions about all tensors of a model, and records the effect of every setting.
pub(crate) struct Quantization<'a> {
    questions: Questions<'a>,
    effects: Effects,
    /// Layers of which two settings want different things, by the complaint about the settings.
    contradictions: BTreeMap<Complaint, BTreeSet<String>>,
    complaints: Vec<Complaint>,
    /// The scheme of each stack of servers.
    stacks: BTreeMap<String, Scheme>,
}

impl<'a> Quantization<'a> {
    pub(crate) fn new(questions: Questions<'a>) -> Self {
        Self {
            questions,
            effects: Effects::new(questions.recipe),
            contradictions: BTreeMap::new(),
            complaints: vec![],
            stacks: BTreeMap::new(),
        }
    }

    /// Decides what one tensor becomes.
    pub(crate) fn decide(&mut self, header: &TensorHeader) -> (Decision, Reason) {
        // All answers, and not only the first: the later ones tell which settings did nothing.
        let answers = self.questions.ask(header);
        self.effects.add(&answers);
        self.complain(layer_of(&header.name), &answers);
        let (_, verdict) = first_verdict(&answers).expect("matrix or scheme always decides");
        let reason = verdict.reason.clone();
        let stored = self.questions.source.stored_layer(header);
        let foreign = self.questions.source.foreign_layer(header);
        let matmul_precision =
            self.matmul_precision(header, matches!(verdict.wish, Wish::Codes(_)));
        // Whatever becomes of a weight that was in codes, it keeps nothing of the old ones.
        match (&verdict.wish, stored, foreign) {
            (Wish::Codes(scheme), ..) => {
                let bias = self.questions.bias_of(header, &verdict.wish).cloned();
                let scheme = *scheme;
                self.complain_of_stack(layer_of(&header.name), scheme);
                let input_scale = self.questions.recipe.input_scale(scheme);
                let codes = Decision::Quantize {
                    scheme,
                    matmul_precision,
                    input_scale,
                    bias,
                    band_rows: None,
                    keeps_codes: self.questions.keeps_codes(header, &verdict.wish),
                };
                let reason = match (stored, foreign) {
                    (Some(stored), _) => reason.of_stored(stored),
                    (None, Some(foreign)) => reason.of_foreign(foreign),
                    (None, None) => reason,
                };
                (codes, reason)
            }
            // Stored codes of a kept layer belong to another layout; see docs/decisions/0003.
            (Wish::Keep, Some(stored), _) => {
                (Decision::Decode { dtype: PlainDtype::Bf16 }, reason.of_stored(stored))
            }
            // No program that opens the output reads the codes as they are.
            (Wish::Keep, None, Some(foreign)) => {
                let dtype = PlainDtype::of_numbers(foreign.dtype);
                (Decision::Decode { dtype }, reason.of_foreign(foreign))
            }
            // Decoded in any case; F32 would take eight times the room of the blocks.
            (Wish::Keep, None, None) if header.is_in_blocks() => {
                let dtype = PlainDtype::beside(self.questions.recipe.scheme());
                (Decision::Decode { dtype }, reason)
            }
            // FP8 that is a number by itself, such as a bias: what adapters make of it would lose most of
            // its bits in the same dtype.
            (Wish::Keep, None, None)
                if fp8_grid(header.dtype).is_some()
                    && self.questions.source.adapters().change(&header.name) =>
            {
                (Decision::Decode { dtype: PlainDtype::Bf16 }, reason)
            }
            (Wish::Remove | Wish::Correct | Wish::Keep, ..) => verdict.clone().of_plain_tensor(),
        }
    }

    /// Returns how the layer of a weight may be multiplied: as the recipe or the input asks for it.
    fn matmul_precision(&mut self, header: &TensorHeader, becomes_codes: bool) -> MatmulPrecision {
        let layer = layer_of(&header.name);
        let has_mark = becomes_codes && !self.questions.recipe.layout().is_for_servers();
        let mut matched = None;
        for (index, pattern) in self.questions.recipe.full_precision().iter().enumerate() {
            if pattern.is_match(layer) {
                // Only the first pattern that matches has an effect; the others are reported as idle.
                let is_first = matched.replace(()).is_none();
                self.effects.add_full_precision(index, is_first && has_mark);
            }
        }
        match matched {
            Some(()) if has_mark => MatmulPrecision::Full,
            _ => self.questions.source.stored.matmul_precision(layer),
        }
    }

    /// Complains where a layer is asked to be converted that is to be kept, or cannot be converted.
    fn complain(&mut self, layer: &str, answers: &[Answer]) {
        let Some((decided, verdict)) = first_verdict(answers) else { return };
        let recipe = self.questions.recipe;
        match decided {
            Question::Keep(index) => {
                let Some(forced) = forced_by(answers, recipe) else { return };
                let keep = Text::pattern("keep", index, &recipe.keep()[index]);
                let both = keep + " and " + forced.problem + " contradict each other";
                let both = Complaint::about(Setting::new("keep").at(index), both);
                self.contradictions.entry(both).or_default().insert(layer.to_owned());
            }
            Question::Refusal(_) => {
                let Some(forced) = forced_by(answers, recipe) else { return };
                let reason = &verdict.reason;
                let asks = format!(" asks for what cannot be converted: {reason}");
                let complaint = Complaint { problem: forced.problem + asks, ..forced };
                // Once for the setting, however many layers it asks for.
                if !self.complaints.contains(&complaint) {
                    self.complaints.push(complaint);
                }
            }
            _ => {}
        }
    }

    /// Complains where servers join layers of different schemes.
    fn complain_of_stack(&mut self, layer: &str, scheme: Scheme) {
        let Some(stack) = self.questions.stack_of(layer) else { return };
        // The first layer decides what the stack is said to be; any other scheme is a
        // contradiction.
        let first = *self.stacks.entry(stack.name()).or_insert(scheme);
        if first != scheme {
            let problem = format!(
                "{scheme} beside {first} where servers stack layers into one matrix, which needs one scheme"
            );
            let complaint = Complaint::about(Setting::new("rules"), problem);
            self.contradictions.entry(complaint).or_default().insert(layer.to_owned());
        }
    }

    /// Complains about settings that contradict each other, and returns notes about those that
    /// change nothing.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] with all complaints.
    pub(crate) fn finish(mut self) -> Result<Vec<Note>, ConvertError> {
        let contradictions = self.contradictions.into_iter();
        self.complaints.extend(contradictions.map(|(it, layers)| of_layers(it, &layers)));
        let source = self.questions.source;
        let names = || source.other_names();
        let (errors, notes) = self.effects.judged(self.questions.recipe, names);
        self.complaints.extend(errors);
        self.complaints.extend(unknown_assigned(&self.questions));
        // A bank that was asked for is often why something else did not match.
        if !self.complaints.is_empty() {
            self.complaints.extend(asked_of_expert_banks(&self.questions));
        }
        match self.complaints.is_empty() {
            true => Ok(notes),
            false => Err(ConvertError::Misfit {
                path: self.questions.source.checkpoint.path().to_owned(),
                complaints: self.complaints,
            }),
        }
    }
}

/// Complains about layers that have a scheme by name and are not there.
fn unknown_assigned(questions: &Questions<'_>) -> Option<Complaint> {
    let known: BTreeSet<&str> =
        questions.source.checkpoint.tensors().iter().map(|header| layer_of(&header.name)).collect();
    let assigned = questions.recipe.assigned().keys();
    let unknown: BTreeSet<String> =
        assigned.filter(|layer| !known.contains(layer.as_str())).cloned().collect();
    let setting = Setting::new("assign");
    let problem = setting.clone().quoted() + " names layers that the file does not have";
    (!unknown.is_empty()).then(|| of_layers(Complaint::about(setting, problem), &unknown))
}

/// Complains about settings that want expert banks converted.
fn asked_of_expert_banks(questions: &Questions<'_>) -> Vec<Complaint> {
    let recipe = questions.recipe;
    let include = recipe.include().iter().enumerate().map(|(at, it)| ("include", at, it));
    let rules = recipe.rules().iter().map(|rule| &rule.pattern).enumerate();
    let rules = rules.map(|(at, pattern)| ("rules", at, pattern));
    let tensors = questions.source.checkpoint.tensors().iter();
    let is_foreign_bank = |header: &TensorHeader| {
        questions.source.foreign_layer(header).is_some_and(|foreign| foreign.shape.len() == 3)
    };
    let banks: Vec<&str> = tensors
        .filter(|header| is_expert_bank(header) || is_foreign_bank(header))
        .filter(|header| !questions.has_coded_bank(header))
        .map(|header| header.name.as_str())
        .collect();
    let asked = include.chain(rules).filter_map(|(key, at, pattern)| {
        let bank = banks.iter().find(|bank| pattern.is_match(bank))?;
        let layout = recipe.layout();
        let of_bank =
            format!(" matches `{bank}`, an expert bank: layout `{layout}` has no codes for it");
        Some(Complaint::about(Setting::new(key).at(at), Text::pattern(key, at, pattern) + of_bank))
    });
    asked.collect()
}

/// The pattern or rule that wants a layer converted, as the beginning of a complaint about it.
fn forced_by(answers: &[Answer], recipe: &Recipe) -> Option<Complaint> {
    let asks =
        answers.iter().filter(|answer| answer.verdict.is_some()).map(|answer| answer.question);
    let pattern = |key: &str, index, pattern| {
        Complaint::about(Setting::new(key).at(index), Text::pattern(key, index, pattern))
    };
    let include = asks.clone().find_map(|question| match question {
        Question::Include(index) => Some(pattern("include", index, &recipe.include()[index])),
        _ => None,
    });
    let rule = asks.into_iter().find_map(|question| match question {
        Question::Rule(index) => Some(pattern("rules", index, &recipe.rules()[index].pattern)),
        _ => None,
    });
    include.or(rule)
}

/// Adds to a complaint how many layers it is about, and the names of a few.
pub(crate) fn of_layers(complaint: Complaint, layers: &BTreeSet<String>) -> Complaint {
    const SHOWN: usize = 3;
    let shown: Vec<String> = layers.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let (count, list) = (layers.len(), shown.join(", "));
    let layers = match count {
        0..=SHOWN => format!(": {list}"),
        _ => format!(" in {count} layers: {list}, …"),
    };
    Complaint { problem: complaint.problem + layers, ..complaint }
}
