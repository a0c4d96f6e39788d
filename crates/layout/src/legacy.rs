//! Tensors that say something about all layers of a file, as ComfyUI knew them before markers.

use roundwise_scheme::{GridKind, LogRange, Scheme, Tiling};

/// Names of the tensors.
pub(crate) const FILE_PARTS: [&str; 3] = [SCALED_FP8, SCALED_FP16, SCALE_FORMAT];
pub(crate) const SCALED_FP8: &str = "scaled_fp8";
pub(crate) const SCALED_FP16: &str = "scaled_fp16";
pub(crate) const SCALE_FORMAT: &str = "scale_format";

/// Elements of a `scaled_fp8` that asks for products in full precision.
pub(crate) const FULL_PRECISION_ELEMENTS: u64 = 2;

/// Tells whether readers of such files know the scheme.
pub(crate) fn admits(scheme: Scheme) -> bool {
    // One scale for the tensor, since old loaders multiply by a single number.
    let scaled = [GridKind::E4m3, GridKind::F16].map(|grid| Scheme::scaled(grid, Tiling::Tensor));
    scaled.contains(&scheme.read_as()) || scheme.log_range().is_some()
}

/// Returns the content of `scale_format`: the bits of a logarithm and the decimal exponents of its
/// range.
pub(crate) fn scale_format(range: LogRange) -> [u8; 3] {
    let [low, high] = range.exponents();
    // Eight bits, then both exponents without their signs: 12 and 6 stand for 10⁻¹² to 10⁶.
    [8, low, high]
}

/// Returns the range of the layers with logarithmic scales. A file has one range for all of them.
pub(crate) fn log_range(schemes: &[Scheme]) -> Option<LogRange> {
    schemes.iter().find_map(|scheme| scheme.log_range())
}
