use roundwise_scheme::{GridKind, Scheme, Tiling};

use crate::layout::Layout;
use crate::marker::format::Format;
use crate::opener::Opener;
use crate::served::{Codes, Served, VLLM};

/// How the experts of a model are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpertStorage {
    /// All of them in one way, without scales of inputs.
    Alike,
    /// Those of each layer in one way.
    AlikeInLayers,
    /// Those of some layer in several ways.
    Mixed,
    /// As plain numbers, beside other layers in codes.
    Kept,
}

/// Returns the program that opens `scheme` in `layout` where the model has experts, each of them a matrix by
/// itself.
///
/// # Source
/// transformers joins all in one way; vLLM's `get_moe_method` takes that of the first expert for a layer.
pub fn opener_of_experts(layout: Layout, scheme: Scheme, experts: ExpertStorage) -> Opener {
    match (Served::of(layout, scheme), experts) {
        (Some(served), ExpertStorage::Alike) => served.experts_opened_by,
        (Some(_), ExpertStorage::AlikeInLayers) => VLLM,
        (Some(_), ExpertStorage::Mixed) => Opener::NONE,
        // transformers (5.23) then looks for packed codes of experts alone, and fails.
        (Some(Served { codes: Codes::Words | Codes::PackedNibbles, .. }), ExpertStorage::Kept) => {
            VLLM
        }
        (Some(served), ExpertStorage::Kept) => served.experts_opened_by,
        (None, _) => opener(layout, scheme),
    }
}

/// Returns the program that opens `scheme` in `layout` where one tensor holds the matrices of several experts.
///
/// Servers take for granted that all such tensors are in codes of it.
pub fn opener_of_banks(layout: Layout, scheme: Scheme, experts: ExpertStorage) -> Opener {
    match reads_banks(layout, scheme) && experts == ExpertStorage::Alike {
        true => opener(layout, scheme),
        false => Opener::NONE,
    }
}

/// Returns whether a program opens `scheme` in `layout` where one tensor holds the matrices of several experts.
///
/// # Source
/// `MoEExperts` in ComfyUI's `ops.py`. It makes a layer of each expert's codes and scales, and hands on neither the
/// rotation of INT8 nor the scales of rows of `asym_w4a8_int8`. `Mxfp4Config` of vLLM, SGLang and transformers.
pub fn reads_banks(layout: Layout, scheme: Scheme) -> bool {
    if layout.is_of_transposed_banks() {
        return Served::of(layout, scheme).is_some();
    }
    let format = Format::of(scheme).filter(|_| layout == Layout::Comfy);
    format.is_some_and(|format| match format.name {
        "float8_e4m3fn" | "float8_e5m2" | "mxfp8" | "nvfp4" | "convrot_w4a4" => true,
        "int8_tensorwise" => scheme.rotation().is_none(),
        _ => false,
    })
}

/// Returns whether programs read `scheme` in `layout` in a table whose rows they look up.
///
/// # Source
/// `Embedding._load_from_state_dict` in ComfyUI's `ops.py`.
pub fn reads_tables(layout: Layout, scheme: Scheme) -> bool {
    const READ: [&str; 3] = ["float8_e4m3fn", "float8_e5m2", "int8_tensorwise"];
    let format = Format::of(scheme).filter(|_| !layout.is_for_servers());
    format.is_some_and(|format| READ.contains(&format.name))
}

/// Returns whether programs round the inputs of layers in codes of `scheme` by a stored scale.
pub fn reads_input_scale(scheme: Scheme) -> bool {
    let is_fp8 = scheme.tiling() == Tiling::Tensor
        && matches!(scheme.grid(), GridKind::E4m3 | GridKind::E5m2);
    scheme.has_scales() && is_fp8 || scheme == Scheme::NVFP4
}

/// Returns the program that opens `scheme` in `layout`.
pub fn opener(layout: Layout, scheme: Scheme) -> Opener {
    if !scheme.has_scales() {
        return Opener::stock("any program that reads this model's original weights");
    }
    match layout {
        Layout::Comfy => Format::of(scheme).map_or(Opener::NONE, |format| format.opened_by),
        Layout::ComfyLegacy if scheme.log_range().is_some() => Opener::NONE,
        Layout::ComfyLegacy if scheme.grid() == GridKind::F16 => Opener::ANY_FP16,
        Layout::ComfyLegacy => Opener::LEGACY,
        Layout::CompressedTensors | Layout::Fp8 | Layout::ModelOpt | Layout::Mxfp4 => {
            Served::of(layout, scheme).map_or(Opener::NONE, |served| served.opened_by)
        }
    }
}
