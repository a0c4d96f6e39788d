//! The schemes that servers read, by layout: everything that their configuration says of one.

use roundwise_scheme::{GridKind, Scheme, Tiling};
use serde_json::{Value, json};

use crate::layout::Layout;
use crate::opener::{Opener, Servers};

/// How a server's file stores a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// Its name in the configuration: a `format` of compressed-tensors, a `quant_algo` of ModelOpt.
    pub(crate) name: &'static str,
    /// What becomes of the inputs of such a layer, in compressed-tensors' words.
    pub(crate) inputs: Inputs,
    /// How codes lie.
    pub(crate) codes: Codes,
    pub(crate) opened_by: Opener,
    /// The programs that open layers of experts in such codes, each a matrix of its own in the file.
    pub(crate) experts_opened_by: Opener,
}

/// What a program does to the inputs of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inputs {
    /// Nothing: the weight is decoded.
    Plain,
    /// 8-bit codes, a scale for each token, found as they come.
    Token,
    /// 8-bit codes, a scale for every 128 inputs of a token.
    Group128,
}

/// How codes lie in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// `weight`: a byte each.
    Bytes,
    /// `weight`: two of 4 bits to a byte.
    Nibbles,
    /// `weight_packed`: two of 4 bits to a byte.
    PackedNibbles,
    /// `weight_packed`: words of 32 bits, of numbers made positive.
    Words,
    /// `_blocks`: two of 4 bits to a byte, those that share a scale in a dimension of their own.
    Blocks,
}

const ALL: Opener =
    Opener::servers("vLLM, SGLang and transformers with compressed-tensors", Servers::All);
pub(crate) const VLLM: Opener = Opener::servers("vLLM and SGLang", Servers::ButTransformers);
/// Without a package for codes.
const BY_ITSELF: Opener = Opener::servers("transformers, vLLM and SGLang", Servers::All);

/// Groups of a row that kernels for packed integers take.
const WORD_GROUPS: [usize; 3] = [32, 64, 128];

impl Served {
    /// Returns how a layout for servers stores a scheme, `None` where it has no place for it.
    pub(crate) fn of(layout: Layout, scheme: Scheme) -> Option<Self> {
        let scheme = scheme.read_as();
        match layout {
            Layout::CompressedTensors => Self::compressed_tensors(scheme),
            Layout::Fp8 => Self::fp8(scheme),
            Layout::ModelOpt => Self::modelopt(scheme),
            Layout::Mxfp4 => Self::mxfp4(scheme),
            Layout::Comfy | Layout::ComfyLegacy => None,
        }
    }

    fn compressed_tensors(scheme: Scheme) -> Option<Self> {
        let of = |name, inputs, codes, experts_opened_by| {
            Some(Self { name, inputs, codes, opened_by: ALL, experts_opened_by })
        };
        // transformers (5.23) joins experts when it loads them, and decodes few ways of storing there: it refuses
        // some, and reads NVFP4 without its global scale.
        match (scheme.grid(), scheme.tiling()) {
            _ if scheme == Scheme::NVFP4 => {
                of("nvfp4-pack-quantized", Inputs::Plain, Codes::PackedNibbles, VLLM)
            }
            _ if scheme == Scheme::MXFP4 => {
                of("mxfp4-pack-quantized", Inputs::Plain, Codes::PackedNibbles, ALL)
            }
            _ if scheme == Scheme::MXFP8 => {
                of("mxfp8-quantized", Inputs::Plain, Codes::Bytes, VLLM)
            }
            (_, Tiling::Block { cols, .. }) if scheme.has_zero_points() => {
                // transformers (5.23, with compressed-tensors 0.20) expects zero points that are not packed, which
                // compressed-tensors does not write, and fails; of experts it hands none on, and vLLM and SGLang
                // take none.
                WORD_GROUPS.contains(&cols).then_some(Self {
                    name: "pack-quantized",
                    inputs: Inputs::Plain,
                    codes: Codes::Words,
                    opened_by: VLLM,
                    experts_opened_by: Opener::NONE,
                })
            }
            // What is left has one number per tile.
            (grid, tiling) if scheme != Scheme::scaled(grid, tiling) => None,
            (GridKind::E4m3, Tiling::Tensor | Tiling::Row) => {
                of("float-quantized", Inputs::Token, Codes::Bytes, ALL)
            }
            (GridKind::E4m3, tiling) if tiling == Tiling::square(128) => {
                of("float-quantized", Inputs::Group128, Codes::Bytes, VLLM)
            }
            (GridKind::Int8, Tiling::Row) => of("int-quantized", Inputs::Token, Codes::Bytes, VLLM),
            (GridKind::Int4, Tiling::Row) => of("pack-quantized", Inputs::Plain, Codes::Words, ALL),
            (GridKind::Int4 | GridKind::Int8, Tiling::Block { rows: 1, cols })
                if WORD_GROUPS.contains(&cols) =>
            {
                of("pack-quantized", Inputs::Plain, Codes::Words, ALL)
            }
            _ => None,
        }
    }

    fn fp8(scheme: Scheme) -> Option<Self> {
        (scheme == Scheme::scaled(GridKind::E4m3, Tiling::square(128))).then_some(Self {
            name: "fp8",
            inputs: Inputs::Group128,
            codes: Codes::Bytes,
            opened_by: BY_ITSELF,
            experts_opened_by: BY_ITSELF,
        })
    }

    fn mxfp4(scheme: Scheme) -> Option<Self> {
        (scheme == Scheme::MXFP4).then_some(Self {
            name: "mxfp4",
            inputs: Inputs::Plain,
            codes: Codes::Blocks,
            opened_by: BY_ITSELF,
            // Each a matrix of its own: the layout has no place for these.
            experts_opened_by: Opener::NONE,
        })
    }

    fn modelopt(scheme: Scheme) -> Option<Self> {
        let of = |name, inputs, codes| {
            Some(Self { name, inputs, codes, opened_by: VLLM, experts_opened_by: VLLM })
        };
        match scheme {
            Scheme::NVFP4 => of("W4A16_NVFP4", Inputs::Plain, Codes::Nibbles),
            Scheme::MXFP8 => of("MXFP8", Inputs::Token, Codes::Bytes),
            // With a stored scale of inputs alone.
            Scheme::FP8 => of("FP8", Inputs::Token, Codes::Bytes),
            scheme if scheme == Scheme::scaled(GridKind::E4m3, Tiling::Row) => {
                of("FP8_PER_CHANNEL_PER_TOKEN", Inputs::Token, Codes::Bytes)
            }
            _ => None,
        }
    }
}

/// Returns what compressed-tensors is told of the weights of layers in a scheme.
pub(crate) fn weights_entry(scheme: Scheme) -> Value {
    let kind = match scheme.grid() {
        GridKind::Int4 | GridKind::Int8 => "int",
        GridKind::E2m1 | GridKind::E4m3 | GridKind::E5m2 | GridKind::F16 | GridKind::Bf16 => {
            "float"
        }
    };
    let mut weights = json!({
        "num_bits": scheme.code_bits(),
        "type": kind,
        "symmetric": !scheme.has_zero_points(),
        "strategy": strategy(scheme),
        "dynamic": false,
    });
    match scheme.tiling() {
        Tiling::Tensor | Tiling::Row => {}
        Tiling::Block { rows: 1, cols } => weights["group_size"] = cols.into(),
        Tiling::Block { rows, cols } => weights["block_structure"] = json!([rows, cols]),
    }
    if let Some(dtype) = scale_dtype(scheme) {
        weights["scale_dtype"] = dtype.into();
    }
    weights
}

fn strategy(scheme: Scheme) -> &'static str {
    match scheme.tiling() {
        // Before its tiling, which tells the groups and not the scale of the whole tensor.
        _ if scheme == Scheme::NVFP4 => "tensor_group",
        Tiling::Tensor => "tensor",
        Tiling::Row => "channel",
        Tiling::Block { rows: 1, .. } => "group",
        Tiling::Block { .. } => "block",
    }
}

/// Returns the dtype of scales that are bytes: readers tell microscaling by it.
fn scale_dtype(scheme: Scheme) -> Option<&'static str> {
    match scheme {
        Scheme::NVFP4 => Some("torch.float8_e4m3fn"),
        Scheme::MXFP4 | Scheme::MXFP8 => Some("torch.uint8"),
        _ => None,
    }
}
