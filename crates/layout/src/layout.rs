use std::fmt;
use std::str::FromStr;

use roundwise_scheme::{GridKind, QuantizedMatrix, Scheme, Tiling};
use roundwise_tensor_file::{Dtype, TensorSpec};

use crate::marker::spaced_json;
use crate::{LayoutError, Marker, Products};

/// Key of the header entry that repeats every layer's marker.
pub const QUANTIZATION_METADATA: &str = "_quantization_metadata";

/// Elements of a `scaled_fp8` that asks for products in full precision.
pub(crate) const FULL_PRECISION_ELEMENTS: u64 = 2;

/// Tensor names, shapes and markers of one consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// ComfyUI: `weight`, `weight_scale` and a `comfy_quant` marker per layer, and the same
    /// markers in the header. ComfyUI 0.3.68–0.3.76 reads only the header, later versions both,
    /// so both are written and agree.
    #[default]
    Comfy,
    /// ComfyUI before markers: `weight`, `scale_weight`, one `scaled_fp8` tensor per file.
    /// E4M3 with one scale per tensor only.
    ComfyLegacy,
}

/// One tensor's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedTensor {
    /// Name in the file.
    pub name: String,
    /// Bytes, little-endian, row-major.
    pub bytes: Vec<u8>,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 2] = [Layout::Comfy, Layout::ComfyLegacy];

    /// Whether the layout has a place for `scheme`.
    ///
    /// # Errors
    /// [`LayoutError::Inadmissible`] with what to do instead.
    pub fn admits(self, scheme: Scheme) -> Result<(), LayoutError> {
        let help = match self {
            Layout::Comfy if Marker::of(scheme).is_some() => return Ok(()),
            Layout::ComfyLegacy if is_plain_fp8(scheme) => return Ok(()),
            Layout::Comfy => "no program has a marker for it",
            Layout::ComfyLegacy => "it stores `fp8` only; use layout `comfy`",
        };
        Err(LayoutError::Inadmissible { layout: self, scheme, help })
    }

    /// Tensors that layer `layer` becomes: its codes, its scales, its marker.
    ///
    /// `scheme` must be [admitted](Layout::admits), and its blocks cover `shape`.
    pub fn layer_tensors(
        self,
        layer: &str,
        scheme: Scheme,
        products: Products,
        shape: [usize; 2],
    ) -> Vec<TensorSpec> {
        let spec = |part: &str, dtype, shape: &[usize]| TensorSpec {
            name: format!("{layer}.{part}"),
            dtype,
            shape: shape.iter().map(|&size| size as u64).collect(),
        };
        let weight = spec("weight", code_dtype(scheme.grid), &shape);
        match self {
            Layout::Comfy => {
                let marker = marker_json(scheme, products);
                vec![
                    weight,
                    spec("weight_scale", Dtype::F32, &comfy_scale_shape(scheme, shape)),
                    spec("comfy_quant", Dtype::U8, &[marker.len()]),
                ]
            }
            Layout::ComfyLegacy => vec![weight, spec("scale_weight", Dtype::F32, &[1])],
        }
    }

    /// The bytes of the tensors that [`Layout::layer_tensors`] announced, in the same order.
    pub fn pack(
        self,
        layer: &str,
        matrix: QuantizedMatrix,
        products: Products,
    ) -> Vec<PackedTensor> {
        let scheme = matrix.scheme();
        let scales: Vec<u8> = matrix.scales().iter().flat_map(|s| s.to_le_bytes()).collect();
        let packed = |part: &str, bytes| PackedTensor { name: format!("{layer}.{part}"), bytes };
        match self {
            Layout::Comfy => vec![
                packed("weight", matrix.into_codes()),
                packed("weight_scale", scales),
                packed("comfy_quant", marker_json(scheme, products).into_bytes()),
            ],
            Layout::ComfyLegacy => {
                vec![packed("weight", matrix.into_codes()), packed("scale_weight", scales)]
            }
        }
    }

    /// Tensors that the layout adds to a file once.
    ///
    /// - `prefix`: what the names of the model's tensors start with, e.g.
    ///   `model.diffusion_model.`
    /// - `products`: what a legacy file asks for once for all its layers; a marker of two elements
    ///   stands for full precision, an empty one for any products
    pub fn file_tensors(self, prefix: &str, products: Products) -> Vec<(TensorSpec, Vec<u8>)> {
        match self {
            Layout::Comfy => vec![],
            Layout::ComfyLegacy => {
                let elements = match products {
                    Products::Any => 0,
                    Products::FullPrecision => FULL_PRECISION_ELEMENTS,
                };
                let spec = TensorSpec {
                    name: format!("{prefix}scaled_fp8"),
                    dtype: Dtype::F8E4M3,
                    shape: vec![elements],
                };
                vec![(spec, vec![0; elements as usize])]
            }
        }
    }

    /// The header entry `(key, value)` that the layout adds for these layers.
    pub fn header_entry<'a>(
        self,
        layers: impl Iterator<Item = (&'a str, Scheme, Products)>,
    ) -> Option<(String, String)> {
        match self {
            Layout::Comfy => {
                let layers: serde_json::Map<_, _> = layers
                    .filter_map(|(layer, scheme, products)| {
                        let marker = Marker::of(scheme)?.asking_for(products);
                        let marker = serde_json::to_value(marker).ok()?;
                        Some((layer.to_owned(), marker))
                    })
                    .collect();
                let value = serde_json::json!({"format_version": "1.0", "layers": layers});
                Some((QUANTIZATION_METADATA.to_owned(), spaced_json(&value)))
            }
            Layout::ComfyLegacy => None,
        }
    }
}

fn is_plain_fp8(scheme: Scheme) -> bool {
    scheme == Scheme { grid: GridKind::E4m3, tiling: Tiling::Tensor }
}

fn marker_json(scheme: Scheme, products: Products) -> String {
    let marker = Marker::of(scheme).expect("the plan admits only schemes with a marker");
    marker.asking_for(products).to_json()
}

fn code_dtype(grid: GridKind) -> Dtype {
    match grid {
        GridKind::E2m1 => Dtype::U8,
        GridKind::E4m3 => Dtype::F8E4M3,
        GridKind::E5m2 => Dtype::F8E5M2,
        GridKind::Int4 | GridKind::Int8 => Dtype::I8,
        GridKind::F16 => Dtype::F16,
        GridKind::Bf16 => Dtype::BF16,
    }
}

/// INT8 rows are `[N, 1]`: a `[N]` scale computes in ComfyUI and then fails to dequantize.
fn comfy_scale_shape(scheme: Scheme, [rows, cols]: [usize; 2]) -> Vec<usize> {
    match (scheme.grid, scheme.tiling) {
        (GridKind::Int8, Tiling::Row) => vec![rows, 1],
        (_, tiling) => tiling.scale_shape(rows, cols),
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Layout::Comfy => "comfy",
            Layout::ComfyLegacy => "comfy-legacy",
        })
    }
}

impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(name: &str) -> Result<Self, LayoutError> {
        Layout::ALL
            .into_iter()
            .find(|layout| layout.to_string() == name)
            .ok_or_else(|| LayoutError::UnknownLayout { name: name.to_owned() })
    }
}
