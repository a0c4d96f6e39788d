use std::fmt;

/// Tensor names, shapes and markers of one consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// ComfyUI: `weight`, `weight_scale` and a `comfy_quant` marker per layer, and the same
    /// markers in the header. ComfyUI 0.3.68–0.3.76 reads only the header, later versions both,
    /// so both are written and agree.
    #[default]
    Comfy,
    /// ComfyUI before markers: `weight`, `scale_weight`, one `scaled_fp8` tensor per file.
    /// One scale per tensor: E4M3 with an F32 or a logarithm, or F16 with an F32.
    ComfyLegacy,
    /// vLLM, SGLang, transformers: what llm-compressor writes. `quantization_config` says how
    /// layers are stored, and which are not.
    CompressedTensors,
    /// The same programs, as DeepSeek began it: `weight_scale_inv` of blocks.
    Fp8,
    /// The same programs, as NVIDIA's ModelOpt writes it.
    ModelOpt,
    /// The same programs, as OpenAI publishes gpt-oss: `_blocks` and `_scales` of banks of experts, all else in plain
    /// numbers.
    Mxfp4,
}

impl Layout {
    /// Every layout by its name.
    pub const NAMES: [(&str, Self); 6] = [
        ("comfy", Self::Comfy),
        ("comfy-legacy", Self::ComfyLegacy),
        ("compressed-tensors", Self::CompressedTensors),
        ("fp8", Self::Fp8),
        ("modelopt", Self::ModelOpt),
        ("mxfp4", Self::Mxfp4),
    ];

    /// Tells whether servers read it: a folder whose `config.json` says what its layers are.
    pub const fn is_for_servers(self) -> bool {
        match self {
            Layout::Comfy | Layout::ComfyLegacy => false,
            Layout::CompressedTensors | Layout::Fp8 | Layout::ModelOpt | Layout::Mxfp4 => true,
        }
    }

    /// Tells whether it has codes for banks of experts alone, whose matrices lie transposed in plain numbers: inputs are
    /// their rows there, and the columns of their codes.
    pub const fn is_of_transposed_banks(self) -> bool {
        matches!(self, Layout::Mxfp4)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Layout::NAMES.iter().find(|(_, layout)| layout == self);
        f.pad(named.expect("every layout has a name").0)
    }
}
