use roundwise_scheme::{GridKind, Scheme};

use crate::layout::Layout;
use crate::marker::format::Format;
use crate::opener::Opener;
use crate::served::{Served, VLLM};

/// Returns the program that opens `scheme` in `layout` where the model has experts, each of them a matrix by
/// itself.
///
/// - `are_alike`: whether all experts have one scheme, as transformers takes for granted
pub fn opener_of_experts(layout: Layout, scheme: Scheme, are_alike: bool) -> Opener {
    match Served::of(layout, scheme) {
        Some(served) if are_alike => served.experts_opened_by,
        Some(_) => VLLM,
        None => opener(layout, scheme),
    }
}

/// Returns the program that opens `scheme` in `layout` where one tensor holds the matrices of several experts;
/// `None` where no program does.
///
/// # Source
/// `MoEExperts` in ComfyUI's `ops.py`. It makes a layer of each expert's codes and scales, and hands on neither the
/// rotation of INT8 nor the scales of rows of `asym_w4a8_int8`.
pub fn opener_of_bank(layout: Layout, scheme: Scheme) -> Option<Opener> {
    let format = Format::of(scheme).filter(|_| layout == Layout::Comfy)?;
    match format.name {
        "float8_e4m3fn" | "float8_e5m2" | "mxfp8" | "nvfp4" => Some(Opener::FIRST_WITH_BANKS),
        "convrot_w4a4" => Some(format.opened_by),
        "int8_tensorwise" if scheme.rotation().is_none() => Some(format.opened_by),
        _ => None,
    }
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
        Layout::ComfyLegacy => Opener::stock("ComfyUI (any version since October 2024)"),
        Layout::CompressedTensors | Layout::Fp8 | Layout::ModelOpt => {
            Served::of(layout, scheme).map_or(Opener::NONE, |served| served.opened_by)
        }
    }
}
