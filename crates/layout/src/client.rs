use roundwise_scheme::{GridKind, Scheme, Tiling};

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

/// Who opens `scheme` in `layout`.
pub fn client(layout: Layout, scheme: Scheme) -> Client {
    match (layout, scheme.grid, scheme.tiling) {
        (Layout::ComfyLegacy, ..) => stock("ComfyUI (any version since October 2024)"),
        (_, GridKind::E4m3, Tiling::Tensor) => stock("ComfyUI 0.3.68 or newer"),
        (_, GridKind::E5m2, Tiling::Tensor) => stock("ComfyUI 0.8.0 or newer"),
        (_, GridKind::Int8, Tiling::Tensor | Tiling::Row) => stock("ComfyUI 0.27.0 or newer"),
        _ => QUANT_OPS,
    }
}
