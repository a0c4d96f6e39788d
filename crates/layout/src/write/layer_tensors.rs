use roundwise_scheme::{QuantizedMatrix, Scheme};
use roundwise_tensor_file::{Dtype, TensorSpec};

use crate::layout::Layout;
use crate::marker::Marker;
use crate::matmul_precision::MatmulPrecision;
use crate::packing::Packing;

/// The bytes of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedTensor {
    /// Name in the file.
    pub name: String,
    /// Bytes, little-endian, row-major.
    pub bytes: Vec<u8>,
}

impl Layout {
    /// Returns the tensors that layer `layer` becomes: its codes, its scales, its marker.
    ///
    /// `scheme` must be [admitted](Layout::admits), and cover `shape`.
    pub fn layer_tensors(
        self,
        layer: &str,
        scheme: Scheme,
        precision: MatmulPrecision,
        shape: [usize; 2],
    ) -> Vec<TensorSpec> {
        let spec = |part: &str, dtype, shape: &[usize]| TensorSpec {
            name: format!("{layer}.{part}"),
            dtype,
            shape: shape.iter().map(|&size| size as u64).collect(),
        };
        let mut parts = Packing::of(scheme, shape).parts();
        if self == Layout::ComfyLegacy {
            for scale in parts.iter_mut().filter(|part| part.name == "weight_scale") {
                // Loaders of the old layout look for this name, and its writers give an F32 scale a dimension.
                scale.name = "scale_weight";
                if scale.dtype == Dtype::F32 {
                    scale.shape = vec![1];
                }
            }
        }
        let mut specs: Vec<TensorSpec> =
            parts.iter().map(|part| spec(part.name, part.dtype, &part.shape)).collect();
        let marker = self.marker_json(scheme, shape, precision);
        specs.extend(marker.map(|marker| spec("comfy_quant", Dtype::U8, &[marker.len()])));
        specs
    }

    /// Returns the bytes of the tensors that [`Layout::layer_tensors`] announced, in their order.
    pub fn pack(
        self,
        layer: &str,
        matrix: QuantizedMatrix,
        precision: MatmulPrecision,
    ) -> Vec<PackedTensor> {
        let (scheme, shape) = (matrix.scheme(), matrix.shape());
        let marker = self.marker_json(scheme, shape, precision);
        let mut contents = Packing::of(scheme, shape).pack(matrix);
        contents.extend(marker.map(String::into_bytes));
        let specs = self.layer_tensors(layer, scheme, precision, shape);
        let packed = specs.into_iter().zip(contents);
        packed.map(|(spec, bytes)| PackedTensor { name: spec.name, bytes }).collect()
    }

    /// Returns the marker alone of the tensors that [`Layout::layer_tensors`] announced.
    pub fn marker(
        self,
        layer: &str,
        scheme: Scheme,
        precision: MatmulPrecision,
        shape: [usize; 2],
    ) -> Option<PackedTensor> {
        let bytes = self.marker_json(scheme, shape, precision)?.into_bytes();
        Some(PackedTensor { name: format!("{layer}.comfy_quant"), bytes })
    }

    fn marker_json(
        self,
        scheme: Scheme,
        shape: [usize; 2],
        precision: MatmulPrecision,
    ) -> Option<String> {
        match self {
            Layout::Comfy => Some(Marker::of(scheme, shape)?.asking_for(precision).to_json()),
            Layout::ComfyLegacy => None,
        }
    }
}
