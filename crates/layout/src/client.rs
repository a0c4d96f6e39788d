/// The program that opens a layer of some layout and scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Name of the program, with the first version that reads the file.
    pub name: &'static str,
    /// Whether ComfyUI opens it without custom nodes.
    pub is_stock_comfyui: bool,
}

impl Client {
    pub(crate) const NONE: Client = custom("no program that is known; roundwise reads it back");

    pub(crate) const ANY_FP16: Client =
        custom("no program that heeds the scale; any reader of FP16 where all scales are 1");

    pub(crate) const QUANT_OPS: Client = custom("ComfyUI with the custom node ComfyUI-QuantOps");

    pub(crate) const QUANT_OPS_FORK: Client =
        custom("ComfyUI with ComfyUI-QuantOps and its author's fork of comfy-kitchen");

    /// Returns programs that serve language models.
    pub(crate) const fn servers(name: &'static str) -> Self {
        custom(name)
    }

    /// Returns a program that needs no custom nodes.
    pub(crate) const fn stock(name: &'static str) -> Self {
        Self { name, is_stock_comfyui: true }
    }
}

const fn custom(name: &'static str) -> Client {
    Client { name, is_stock_comfyui: false }
}
