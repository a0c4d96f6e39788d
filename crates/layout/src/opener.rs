/// The program that opens a layer of some layout and scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Name of the program, with the first version that reads the file.
    pub name: &'static str,
    /// What sort of program that is.
    pub kind: OpenerKind,
}

/// The sort of a program that opens layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenerKind {
    /// ComfyUI without custom nodes.
    StockComfyUi,
    /// ComfyUI with custom nodes.
    CustomNodes,
    /// Servers of language models.
    Servers(Servers),
    /// No program that is known.
    Nobody {
        /// What else reads it.
        known: &'static str,
    },
}

/// Which of vLLM, SGLang and transformers open a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// All of them.
    All,
    /// vLLM and SGLang.
    ButTransformers,
    /// vLLM and transformers.
    ButSglang,
    /// vLLM alone.
    Vllm,
}

impl Opener {
    pub(crate) const NONE: Opener = Opener {
        name: "no program that is known; roundwise reads it back",
        kind: OpenerKind::Nobody { known: "roundwise reads it back" },
    };

    pub(crate) const ANY_FP16: Opener = Opener {
        name: "no program that heeds the scale; any reader of FP16 where all scales are 1",
        kind: OpenerKind::Nobody { known: "any reader of FP16 where all scales are 1" },
    };

    pub(crate) const QUANT_OPS: Opener = custom("ComfyUI with the custom node ComfyUI-QuantOps");

    pub(crate) const QUANT_OPS_FORK: Opener =
        custom("ComfyUI with ComfyUI-QuantOps and its author's fork of comfy-kitchen");

    /// Returns programs that serve language models.
    pub(crate) const fn servers(name: &'static str, servers: Servers) -> Self {
        Self { name, kind: OpenerKind::Servers(servers) }
    }

    /// Reads the first format that had a name: its markers from the header, at first, later from
    /// tensors beside the weights.
    pub(crate) const FIRST_FORMAT: Opener = Opener::stock("ComfyUI 0.3.68 or newer");

    /// Reads the layout of the time before markers.
    pub(crate) const LEGACY: Opener = Opener::stock("ComfyUI (any version since October 2024)");

    /// Returns the program that opens a text encoder by itself: its loader learned later to read the
    /// header.
    pub fn of_text_encoder(self) -> Opener {
        match self == Opener::FIRST_FORMAT {
            true => Opener::stock("ComfyUI 0.3.72 or newer"),
            false => self,
        }
    }

    /// Returns the program that opens a model whose names stand behind a prefix. Loaders take the
    /// prefix off the names of tensors, but not off those in the header, so that only markers in
    /// tensors count.
    pub fn of_prefixed_model(self) -> Opener {
        match self == Opener::FIRST_FORMAT {
            true => Opener::stock("ComfyUI 0.3.77 or newer"),
            false => self,
        }
    }

    /// Returns the program that opens a model with banks of experts: the module for them came later than the loaders
    /// of most formats.
    pub fn of_model_with_banks(self) -> Opener {
        const FIRST: u32 = 23;
        let minor = self.name.strip_prefix("ComfyUI 0.").and_then(|rest| rest.split('.').next());
        let minor = minor.and_then(|minor| minor.parse::<u32>().ok());
        match self == Opener::LEGACY || minor.is_some_and(|minor| minor < FIRST) {
            true => Opener::stock("ComfyUI 0.23.0 or newer"),
            false => self,
        }
    }

    /// Returns the servers that open a model whose banks of experts are kept beside layers in codes. Of SGLang, which takes
    /// a kept bank for a layer of another class, that is not known.
    pub fn of_model_with_kept_banks(self) -> Opener {
        self.with_servers(|servers| match servers {
            Servers::All | Servers::ButSglang => ("vLLM and transformers", Servers::ButSglang),
            Servers::ButTransformers | Servers::Vllm => ("vLLM", Servers::Vllm),
        })
    }

    /// Returns the servers that are left of these without transformers.
    pub fn but_transformers(self) -> Opener {
        self.with_servers(|servers| match servers {
            Servers::All | Servers::ButTransformers => {
                ("vLLM and SGLang", Servers::ButTransformers)
            }
            Servers::ButSglang | Servers::Vllm => ("vLLM", Servers::Vllm),
        })
    }

    /// Returns other servers in the place of these, and any other program as it is.
    fn with_servers(self, change: impl Fn(Servers) -> (&'static str, Servers)) -> Opener {
        match self.kind {
            OpenerKind::Servers(servers) => {
                let (name, servers) = change(servers);
                Opener::servers(name, servers)
            }
            OpenerKind::StockComfyUi | OpenerKind::CustomNodes | OpenerKind::Nobody { .. } => self,
        }
    }

    /// Returns a program that needs no custom nodes.
    pub(crate) const fn stock(name: &'static str) -> Self {
        Self { name, kind: OpenerKind::StockComfyUi }
    }
}

const fn custom(name: &'static str) -> Opener {
    Opener { name, kind: OpenerKind::CustomNodes }
}
