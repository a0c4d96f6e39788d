use std::fmt;

use roundwise_layout::Layout;
use roundwise_scheme::{GridKind, Scheme, Tiling};

/// The program that a file is made for. It implies a layout, a scheme and what lies beside the
/// weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// ComfyUI: one file.
    ComfyUi,
    /// vLLM: a folder of Hugging Face's form, as for the others.
    Vllm,
    /// SGLang.
    Sglang,
    /// transformers, with compressed-tensors where the layout is that.
    Transformers,
}

impl Program {
    /// Every program by its name.
    pub const NAMES: [(&str, Self); 4] = [
        ("comfyui", Self::ComfyUi),
        ("vllm", Self::Vllm),
        ("sglang", Self::Sglang),
        ("transformers", Self::Transformers),
    ];

    /// Returns how its authors write its name.
    pub const fn title(self) -> &'static str {
        match self {
            Program::ComfyUi => "ComfyUI",
            Program::Vllm => "vLLM",
            Program::Sglang => "SGLang",
            Program::Transformers => "transformers",
        }
    }

    /// Returns whether it serves language models from a folder.
    pub const fn is_server(self) -> bool {
        match self {
            Program::ComfyUi => false,
            Program::Vllm | Program::Sglang | Program::Transformers => true,
        }
    }

    /// Returns the layout that files for it have, whatever the scheme.
    pub fn usual_layout(self) -> Layout {
        match self {
            Program::ComfyUi => Layout::Comfy,
            Program::Vllm | Program::Sglang | Program::Transformers => Layout::CompressedTensors,
        }
    }

    /// Returns the layout that serves a scheme best.
    pub(crate) fn layout(self, scheme: Scheme) -> Layout {
        let blocks = Scheme::scaled(GridKind::E4m3, Tiling::square(128));
        match self {
            Program::ComfyUi => Layout::default_for(scheme),
            // Every server reads this layout without a package of its own, experts included.
            _ if scheme.read_as() == blocks => Layout::Fp8,
            Program::Vllm | Program::Sglang | Program::Transformers => Layout::CompressedTensors,
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Program::NAMES.iter().find(|(_, program)| program == self);
        f.pad(named.expect("every program has a name").0)
    }
}
