use std::fmt;

use crate::layout::Layout;

/// How a file says that a layer is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spelling {
    /// A ComfyUI marker, in a tensor or in the header.
    Comfy,
    /// `scale_weight`, the ComfyUI spelling before markers.
    ComfyLegacy,
    /// `weight_scale` without a marker: vLLM and compressed-tensors.
    WeightScale,
    /// `weight_scale_inv` over 128×128 blocks: DeepSeek and Hugging Face.
    WeightScaleInv,
    /// `scale`, powers of two as bytes over 128×128 blocks: DeepSeek from V4 on.
    Scale,
    /// `weight_packed` and a `weight_global_scale` that divides: NVFP4 of compressed-tensors.
    WeightPacked,
    /// `weight_packed` in words of 32 bits, and a `weight_shape`: integers of compressed-tensors.
    PackedIntegers,
    /// `weight_packed` and a `weight_scale` of powers of two: MXFP4 of compressed-tensors.
    PackedMicroscaled,
    /// Packed codes and `weight_scale_2` without a marker: NVFP4 of ModelOpt.
    WeightScale2,
    /// Codes without any scale: the codes are the values.
    Plain,
}

impl Spelling {
    /// Returns the layout that spells so; `None` where other programs alone do.
    pub fn layout(self) -> Option<Layout> {
        match self {
            Spelling::Comfy => Some(Layout::Comfy),
            Spelling::ComfyLegacy => Some(Layout::ComfyLegacy),
            Spelling::WeightScale
            | Spelling::WeightPacked
            | Spelling::PackedIntegers
            | Spelling::PackedMicroscaled => Some(Layout::CompressedTensors),
            Spelling::WeightScaleInv => Some(Layout::Fp8),
            Spelling::WeightScale2 => Some(Layout::ModelOpt),
            Spelling::Scale | Spelling::Plain => None,
        }
    }

    /// Returns whether ComfyUI reads codes so.
    pub fn is_comfyui(self) -> bool {
        matches!(self, Spelling::Comfy | Spelling::ComfyLegacy | Spelling::Plain)
    }
}

impl fmt::Display for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Spelling::Comfy => "comfy_quant marker",
            Spelling::ComfyLegacy => "scale_weight",
            Spelling::WeightScale => "weight_scale",
            Spelling::WeightScaleInv => "weight_scale_inv",
            Spelling::Scale => "scale",
            Spelling::WeightPacked => "weight_packed",
            Spelling::PackedIntegers => "weight_packed, weight_shape",
            Spelling::PackedMicroscaled => "weight_packed, powers of two",
            Spelling::WeightScale2 => "weight_scale_2",
            Spelling::Plain => "no scale",
        })
    }
}
