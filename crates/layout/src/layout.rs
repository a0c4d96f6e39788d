use std::fmt;

use roundwise_scheme::{GridKind, LogRange, QuantizedMatrix, ScaleStorage, Scheme, Tiling};
use roundwise_tensor_file::{Dtype, TensorSpec};

use crate::describe::scale_format;
use crate::form::{Form, Part};
use crate::marker::spaced_json;
use crate::{LayoutError, Marker, Products};

/// Key of the header entry that repeats every layer's marker.
pub const QUANTIZATION_METADATA: &str = "_quantization_metadata";

/// Elements of a `scaled_fp8` that asks for products in full precision.
pub(crate) const FULL_PRECISION_ELEMENTS: u64 = 2;

/// Columns that the kernels for INT4 take at once.
const INT4_KERNEL_COLUMNS: usize = 64;

/// Tensor names, shapes and markers of one consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// ComfyUI: `weight`, `weight_scale` and a `comfy_quant` marker per layer, and the same
    /// markers in the header. ComfyUI 0.3.68–0.3.76 reads only the header, later versions both,
    /// so both are written and agree.
    #[default]
    Comfy,
    /// ComfyUI before markers: `weight`, `scale_weight`, one `scaled_fp8` tensor per file.
    /// One scale per tensor: E4M3 with an F32 or a logarithm, or F16 with an F32.
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
    /// Every layout by its name.
    pub const NAMES: [(&str, Self); 2] =
        [("comfy", Self::Comfy), ("comfy-legacy", Self::ComfyLegacy)];

    /// Whether the layout has a place for `scheme`.
    ///
    /// # Errors
    /// [`LayoutError::Inadmissible`] with what to do instead.
    pub fn admits(self, scheme: Scheme) -> Result<(), LayoutError> {
        let help = match self {
            Layout::Comfy if is_plain(scheme) || Marker::has_format(scheme) => return Ok(()),
            Layout::ComfyLegacy if is_legacy(scheme) => return Ok(()),
            Layout::Comfy if is_legacy(scheme) => "use layout `comfy-legacy`",
            Layout::Comfy => "no program has a marker for it",
            Layout::ComfyLegacy => {
                "it stores `fp8`, `fp8-log-scales` and `fp16-scaled` only; use layout `comfy`"
            }
        };
        Err(LayoutError::Inadmissible { layout: self, scheme, help })
    }

    /// The layout of a scheme that no layout was asked for: the first one that has a place for it.
    pub fn default_for(scheme: Scheme) -> Self {
        let layouts = Layout::NAMES.map(|(_, layout)| layout);
        layouts.into_iter().find(|layout| layout.admits(scheme).is_ok()).unwrap_or_default()
    }

    /// Whether programs that read the layout take a layer of this shape.
    ///
    /// # Errors
    /// [`LayoutError::Columns`] when their kernels need another number of columns.
    pub fn takes(self, scheme: Scheme, [_, cols]: [usize; 2]) -> Result<(), LayoutError> {
        match scheme.grid() {
            GridKind::Int4 if !cols.is_multiple_of(INT4_KERNEL_COLUMNS) => {
                Err(LayoutError::Columns { scheme, cols, multiple: INT4_KERNEL_COLUMNS })
            }
            _ => Ok(()),
        }
    }

    /// Whether the tensor of codes has the shape of the weight: neither packed nor padded.
    pub fn keeps_shape(self, scheme: Scheme, shape: [usize; 2]) -> bool {
        Form::of(scheme, shape).keeps_shape()
    }

    /// Tensors that layer `layer` becomes: its codes, its scales, its marker.
    ///
    /// `scheme` must be [admitted](Layout::admits), and cover `shape`.
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
        let mut parts = Form::of(scheme, shape).parts();
        if self == Layout::ComfyLegacy {
            for scale in parts.iter_mut().filter(|part| part.name == "weight_scale") {
                *scale = Part { name: "scale_weight", dtype: Dtype::F32, shape: vec![1] };
            }
        }
        let mut specs: Vec<TensorSpec> =
            parts.iter().map(|part| spec(part.name, part.dtype, &part.shape)).collect();
        let marker = self.marker_json(scheme, shape, products);
        specs.extend(marker.map(|marker| spec("comfy_quant", Dtype::U8, &[marker.len()])));
        specs
    }

    /// The bytes of the tensors that [`Layout::layer_tensors`] announced, in the same order.
    pub fn pack(
        self,
        layer: &str,
        matrix: QuantizedMatrix,
        products: Products,
    ) -> Vec<PackedTensor> {
        let (scheme, shape) = (matrix.scheme(), matrix.shape());
        let marker = self.marker_json(scheme, shape, products);
        let mut contents = Form::of(scheme, shape).pack(matrix);
        contents.extend(marker.map(String::into_bytes));
        let specs = self.layer_tensors(layer, scheme, products, shape);
        let packed = specs.into_iter().zip(contents);
        packed.map(|(spec, bytes)| PackedTensor { name: spec.name, bytes }).collect()
    }

    /// The marker alone of the tensors that [`Layout::layer_tensors`] announced.
    pub fn marker(
        self,
        layer: &str,
        scheme: Scheme,
        products: Products,
        shape: [usize; 2],
    ) -> Option<PackedTensor> {
        let bytes = self.marker_json(scheme, shape, products)?.into_bytes();
        Some(PackedTensor { name: format!("{layer}.comfy_quant"), bytes })
    }

    fn marker_json(self, scheme: Scheme, shape: [usize; 2], products: Products) -> Option<String> {
        match self {
            Layout::Comfy => Some(Marker::of(scheme, shape)?.asking_for(products).to_json()),
            Layout::ComfyLegacy => None,
        }
    }

    /// Tensors that the layout adds to a file once.
    ///
    /// - `prefix`: what the names of the model's tensors start with, e.g.
    ///   `model.diffusion_model.`
    /// - `products`: what a legacy file asks for once for all its layers; a marker of two elements
    ///   stands for full precision, an empty one for any products
    /// - `schemes`: of the file's layers
    pub fn file_tensors(
        self,
        prefix: &str,
        products: Products,
        schemes: &[Scheme],
    ) -> Vec<(TensorSpec, Vec<u8>)> {
        match self {
            Layout::Comfy => vec![],
            Layout::ComfyLegacy => {
                let elements = match products {
                    Products::Any => 0,
                    Products::FullPrecision => FULL_PRECISION_ELEMENTS,
                };
                let tensor = |name: &str, dtype: Dtype, bytes: Vec<u8>| {
                    let shape = vec![bytes.len() as u64 * 8 / dtype.bits()];
                    (TensorSpec { name: format!("{prefix}{name}"), dtype, shape }, bytes)
                };
                let has = |grid| schemes.iter().any(|scheme| scheme.grid() == grid);
                let mut tensors = vec![];
                if has(GridKind::E4m3) {
                    tensors.push(tensor("scaled_fp8", Dtype::F8E4M3, vec![0; elements as usize]));
                }
                if has(GridKind::F16) {
                    let bytes = vec![0; 2 * elements as usize];
                    tensors.push(tensor("scaled_fp16", Dtype::F16, bytes));
                }
                if let Some(range) = log_range(schemes) {
                    let bytes = scale_format(range).to_vec();
                    tensors.push(tensor("scale_format", Dtype::U8, bytes));
                }
                tensors
            }
        }
    }

    /// The header entry `(key, value)` that the layout adds for these layers and their shapes;
    /// `None` where no layer has a marker.
    pub fn header_entry<'a>(
        self,
        layers: impl Iterator<Item = (&'a str, Scheme, [usize; 2], Products)>,
    ) -> Option<(String, String)> {
        match self {
            Layout::Comfy => {
                let layers: serde_json::Map<_, _> = layers
                    .filter_map(|(layer, scheme, shape, products)| {
                        let marker = Marker::of(scheme, shape)?.asking_for(products);
                        let marker = serde_json::to_value(marker).ok()?;
                        Some((layer.to_owned(), marker))
                    })
                    .collect();
                if layers.is_empty() {
                    return None;
                }
                let value = serde_json::json!({"format_version": "1.0", "layers": layers});
                Some((QUANTIZATION_METADATA.to_owned(), spaced_json(&value)))
            }
            Layout::ComfyLegacy => None,
        }
    }
}

/// A header entry with the markers of these layers in place of those that it has for them.
///
/// Whatever else it says stays. Text that is no list of layers stays as it is.
pub fn with_header_entries<'a>(
    text: &str,
    layers: impl Iterator<Item = (&'a str, Scheme, [usize; 2], Products)>,
) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(text) else {
        return text.to_owned();
    };
    let Some(entries) = value.get_mut("layers").and_then(|layers| layers.as_object_mut()) else {
        return text.to_owned();
    };
    let mut is_changed = false;
    for (layer, scheme, shape, products) in layers {
        let marker = Marker::of(scheme, shape).map(|marker| marker.asking_for(products));
        if let Some(Ok(marker)) = marker.map(serde_json::to_value) {
            entries.insert(layer.to_owned(), marker);
            is_changed = true;
        }
    }
    if is_changed { spaced_json(&value) } else { text.to_owned() }
}

/// Schemes whose readers know no markers.
fn is_legacy(scheme: Scheme) -> bool {
    let scaled = [GridKind::E4m3, GridKind::F16].map(|grid| Scheme::scaled(grid, Tiling::Tensor));
    let is_logarithmic = matches!(scheme.scale_storage(), ScaleStorage::Logarithmic { .. });
    scaled.contains(&scheme) || is_logarithmic
}

/// The range of the layers with logarithmic scales, of which a file tells one.
pub(crate) fn log_range(schemes: &[Scheme]) -> Option<LogRange> {
    schemes.iter().find_map(|scheme| match scheme.scale_storage() {
        ScaleStorage::Logarithmic { range, .. } => Some(range),
        _ => None,
    })
}

/// Numbers that need no marker: every program reads them.
fn is_plain(scheme: Scheme) -> bool {
    [GridKind::F16, GridKind::Bf16].map(Scheme::unscaled).contains(&scheme)
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Layout::NAMES.iter().find(|(_, layout)| layout == self);
        f.pad(named.expect("every layout has a name").0)
    }
}
