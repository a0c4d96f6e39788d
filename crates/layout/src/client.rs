use roundwise_scheme::{GridKind, ScaleStorage, Scheme, Tiling};

use crate::Layout;

/// The program that opens a layer of some layout and scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Whom to give the file to, with the first version that reads it.
    pub name: &'static str,
    /// Whether ComfyUI opens it without custom nodes.
    pub is_stock_comfyui: bool,
}

const fn stock(name: &'static str) -> Client {
    Client { name, is_stock_comfyui: true }
}

const QUANT_OPS: Client =
    Client { name: "ComfyUI with the custom node ComfyUI-QuantOps", is_stock_comfyui: false };

const QUANT_OPS_FORK: Client = Client {
    name: "ComfyUI with ComfyUI-QuantOps and its author's fork of comfy-kitchen",
    is_stock_comfyui: false,
};

const FP16_READERS: Client = Client {
    name: "no program that heeds the scale; any reader of FP16 where all scales are 1",
    is_stock_comfyui: false,
};

const NOBODY: Client =
    Client { name: "no program that is known; roundwise reads it back", is_stock_comfyui: false };

/// Who opens `scheme` in `layout`.
pub fn client(layout: Layout, scheme: Scheme) -> Client {
    if layout == Layout::ComfyLegacy && scheme == Scheme::scaled(GridKind::E4m3, Tiling::Tensor) {
        return stock("ComfyUI (any version since October 2024)");
    }
    match (scheme.scale_storage(), scheme.grid()) {
        (ScaleStorage::Unscaled, _) => {
            stock("any program that reads this model's original weights")
        }
        (ScaleStorage::F32(Tiling::Tensor), GridKind::E4m3) => stock("ComfyUI 0.3.68 or newer"),
        (ScaleStorage::F32(Tiling::Tensor), GridKind::E5m2) => stock("ComfyUI 0.8.0 or newer"),
        (ScaleStorage::TwoLevel, _) => stock("ComfyUI 0.8.0 or newer"),
        (ScaleStorage::PowerOfTwo, _) => stock("ComfyUI 0.18.0 or newer"),
        (ScaleStorage::F32(Tiling::Tensor | Tiling::Row), GridKind::Int8) => {
            stock("ComfyUI 0.27.0 or newer")
        }
        (ScaleStorage::F32(Tiling::Row), GridKind::Int4) => stock("ComfyUI 0.28.0 or newer"),
        (ScaleStorage::Leveled, _) => stock("ComfyUI 0.31.0 or newer"),
        (ScaleStorage::PowerOfTwoAndLargest, _) => QUANT_OPS_FORK,
        (ScaleStorage::F32(Tiling::Tensor), GridKind::F16) => FP16_READERS,
        (ScaleStorage::F32(Tiling::Block { rows: 1, .. }), GridKind::E4m3)
        | (ScaleStorage::Logarithmic { .. }, _) => NOBODY,
        (ScaleStorage::F32(_), _) => QUANT_OPS,
    }
}
