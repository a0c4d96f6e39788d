//! Programs that open the outputs, each with its own table of files that it opens.

pub(crate) mod answer;
pub(crate) mod comfyui;
mod servers;

use roundwise_layout::{
    ExpertStorage, Layout, Opener, OpenerKind, Servers, Spelling, opener, opener_of_banks,
    opener_of_experts,
};
use roundwise_scheme::Scheme;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::FileKind;
use crate::recipe::Program;
use crate::source::consumer::answer::{Opens, TakesCodes};
use crate::source::subject::Subject;

/// A program that opens files of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consumer {
    /// ComfyUI as it is shipped.
    ComfyUi,
    /// ComfyUI with the custom node ComfyUI-QuantOps.
    ComfyUiQuantOps,
    /// vLLM, SGLang and transformers.
    Servers,
}

/// Whether any consumer opens weights of one scheme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemeConsumer {
    /// The scheme.
    #[serde(serialize_with = "by_name", deserialize_with = "read_scheme")]
    pub scheme: Scheme,
    /// The answer.
    #[serde(flatten)]
    pub answer: Opens,
}

fn by_name<S: Serializer>(scheme: &Scheme, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(scheme)
}

fn read_scheme<'de, D: Deserializer<'de>>(from: D) -> Result<Scheme, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

impl Consumer {
    /// Every consumer, in the order in which they are asked.
    pub const ALL: [Self; 3] = [Self::ComfyUi, Self::ComfyUiQuantOps, Self::Servers];

    /// Returns whether it reads files of a layout.
    fn reads(self, layout: Layout) -> bool {
        (self == Self::Servers) == layout.is_for_servers()
    }

    /// Returns the consumer that a layout is for.
    pub(crate) fn of(layout: Layout) -> Self {
        match layout {
            Layout::Comfy | Layout::ComfyLegacy => Self::ComfyUi,
            Layout::CompressedTensors | Layout::Fp8 | Layout::ModelOpt | Layout::Mxfp4 => {
                Self::Servers
            }
        }
    }

    fn answer(self, subject: &Subject, scheme: Scheme, layout: Layout, opener: Opener) -> Opens {
        let program = opener.name.to_owned();
        // Plain numbers are read by every program that reads the model under these names; a part of a model by none.
        if !scheme.has_scales() && subject.incomplete.is_none() {
            return match comfyui::names_of_gguf(&subject.detected) {
                Some(reason) => Opens::NotKnown { reason },
                None => Opens::Yes { program },
            };
        }
        match self.takes_codes(subject, layout) {
            TakesCodes::No { reason, way_out } => return Opens::No { reason, way_out },
            TakesCodes::NotKnown { reason } => return Opens::NotKnown { reason },
            TakesCodes::Yes => {}
        }
        match opener.kind {
            OpenerKind::Nobody { known } => Opens::NotKnown { reason: known.to_owned() },
            OpenerKind::CustomNodes if self == Self::ComfyUi => Opens::No {
                reason: format!("ComfyUI has no path for `{scheme}` by itself"),
                way_out: format!("{program} opens it"),
            },
            OpenerKind::StockComfyUi | OpenerKind::CustomNodes | OpenerKind::Servers(_) => {
                Opens::Yes { program }
            }
        }
    }

    /// Returns whether it reads codes of `subject` in a layout that is for it.
    pub(crate) fn takes_codes(self, subject: &Subject, layout: Layout) -> TakesCodes {
        if let Some(incomplete) = &subject.incomplete {
            let way_out = incomplete.way_out().to_owned();
            return TakesCodes::No { reason: incomplete.reason(), way_out };
        }
        match self {
            // The node adds schemes, no kinds of files.
            Self::ComfyUi | Self::ComfyUiQuantOps => comfyui::takes_codes(&subject.detected),
            Self::Servers => servers::takes_codes(subject, layout),
        }
    }
}

/// Returns the program that reads such codes, from the version that finds the markers of such a file.
fn opener_for(subject: &Subject, scheme: Scheme, layout: Layout, experts: ExpertStorage) -> Opener {
    let has_experts = subject.served.as_ref().is_some_and(|served| served.has_single_experts);
    let opener = match has_experts {
        _ if layout.is_of_transposed_banks() && scheme.has_scales() => {
            opener_of_banks(layout, scheme, experts)
        }
        true => opener_of_experts(layout, scheme, experts),
        // Whatever becomes of the banks: without their module the model is not read at all.
        false if subject.detected.main.has_coded_banks => {
            opener(layout, scheme).of_model_with_banks()
        }
        false if subject.expert_banks.is_some() => {
            let kept = opener(layout, scheme).of_model_with_kept_banks();
            if subject.is_without_kept_banks() { kept.but_transformers() } else { kept }
        }
        false => opener(layout, scheme),
    };
    match subject.kind() {
        FileKind::TextEncoder | FileKind::LanguageModel => opener.of_text_encoder(),
        _ if subject.detected.is_behind_prefix() => opener.of_prefixed_model(),
        _ => opener,
    }
}

/// Returns whether a program for models that write text is not among those that open something.
fn is_other_than(program: Program, opener: OpenerKind) -> bool {
    match (opener, program) {
        (_, Program::ComfyUi) => false,
        (OpenerKind::Nobody { .. }, _) => true,
        (OpenerKind::Servers(servers), Program::Transformers) => {
            matches!(servers, Servers::ButTransformers | Servers::Vllm)
        }
        (OpenerKind::Servers(servers), Program::Sglang) => {
            matches!(servers, Servers::ButSglang | Servers::Vllm)
        }
        (OpenerKind::Servers(_), Program::Vllm) => false,
        (OpenerKind::StockComfyUi | OpenerKind::CustomNodes, _) => false,
    }
}

impl Subject {
    /// Returns whether some consumer is known to take codes of it.
    pub(crate) fn has_reader_of_codes(&self) -> bool {
        let layouts = Layout::NAMES.iter().map(|(_, layout)| *layout);
        layouts
            .into_iter()
            .any(|layout| Consumer::of(layout).takes_codes(self, layout) == TakesCodes::Yes)
    }

    /// Returns the first consumer that opens the file with weights in `scheme`, or why none does.
    pub fn opens(&self, scheme: Scheme, layout: Layout) -> Opens {
        self.opens_with(scheme, layout, self.stored_experts())
    }

    /// Returns whether transformers cannot open its banks of experts as plain numbers beside codes.
    fn is_without_kept_banks(&self) -> bool {
        self.served.as_ref().is_some_and(|served| {
            served.preset.family.without_kept_banks.contains(&served.model_type)
        })
    }

    /// Returns how the experts of the file are stored, as far as scales of their inputs tell.
    fn stored_experts(&self) -> ExpertStorage {
        match self.served.as_ref().is_some_and(|served| served.has_expert_input_scales) {
            true => ExpertStorage::AlikeInLayers,
            false => ExpertStorage::Alike,
        }
    }

    /// Returns who opens a layer in codes of the file as it is spelled.
    pub(crate) fn opens_as_spelled(&self, scheme: Scheme, spelling: Spelling) -> Opens {
        let program = match (spelling.layout(), spelling) {
            (Some(layout), _) if layout.is_for_servers() => {
                // With a configuration that speaks of the codes the folder is as a conversion leaves it.
                if let Some(told) = self.served.as_ref().and_then(|served| served.codes) {
                    return self.opens(scheme, told);
                }
                let opener = opener_for(self, scheme, layout, self.stored_experts());
                match opener.kind {
                    OpenerKind::Nobody { known } => {
                        return Opens::NotKnown { reason: known.to_owned() };
                    }
                    OpenerKind::StockComfyUi | OpenerKind::CustomNodes | OpenerKind::Servers(_) => {
                        format!("{}, with a matching config.json", opener.name)
                    }
                }
            }
            (Some(layout), _) => return self.opens(scheme, layout),
            (None, Spelling::Scale) => {
                "transformers, vLLM and DeepSeek's own program, with a matching config.json"
                    .to_owned()
            }
            (None, _) => {
                "programs that cast codes without scales to their compute type, as ComfyUI does"
                    .to_owned()
            }
        };
        Opens::Yes { program }
    }

    /// Returns who opens banks of experts in codes of a scheme, where the configuration says what layout they have; banks of
    /// plain numbers beside them are read as codes as well.
    pub(crate) fn opens_banks_as_told(&self, scheme: Scheme) -> Option<Opens> {
        let told = self.served.as_ref()?.codes.filter(|told| told.is_of_transposed_banks())?;
        let experts = match self.expert_banks {
            None => ExpertStorage::Alike,
            Some(_) => ExpertStorage::Mixed,
        };
        Some(self.opens_with(scheme, told, experts))
    }

    /// Returns what opens a scheme where a program for models that write text does not.
    pub(crate) fn opener_other_than(
        &self,
        program: Program,
        scheme: Scheme,
        layout: Layout,
        experts: ExpertStorage,
    ) -> Option<Opener> {
        let opener = opener_for(self, scheme, layout, experts);
        is_other_than(program, opener.kind).then_some(opener)
    }

    /// Returns what it is about the experts that a program does not read, where it reads the scheme in other models.
    ///
    /// - `stored`: what is special about how they are stored, in words
    pub(crate) fn trouble_of_experts(
        &self,
        program: Program,
        scheme: Scheme,
        layout: Layout,
        stored: Option<&str>,
    ) -> Option<String> {
        if is_other_than(program, opener(layout, scheme).kind) {
            return None;
        }
        let of_banks = self.expert_banks.map(|_| "that lie in one tensor and stay as they are");
        Some(format!("{} reads no experts {}", program.title(), stored.or(of_banks)?))
    }

    /// Returns the first consumer that opens the file with weights in `scheme`, or why none does.
    pub(crate) fn opens_with(
        &self,
        scheme: Scheme,
        layout: Layout,
        experts: ExpertStorage,
    ) -> Opens {
        let opener = opener_for(self, scheme, layout, experts);
        let readers = Consumer::ALL.into_iter().filter(|consumer| consumer.reads(layout));
        let answers: Vec<Opens> =
            readers.map(|consumer| consumer.answer(self, scheme, layout, opener)).collect();
        let is_yes = |answer: &&Opens| matches!(answer, Opens::Yes { .. });
        let is_open = |answer: &&Opens| matches!(answer, Opens::NotKnown { .. });
        // One program that opens it is enough; where none does, an answer that is not known goes before a
        // no.
        let best = answers.iter().find(is_yes).or_else(|| answers.iter().find(is_open));
        // There is an answer, for every layout is read by some consumer. Where all say no,
        // ComfyUI's own advice goes before that of its custom node.
        best.unwrap_or(&answers[0]).clone()
    }
}
