use roundwise_scheme::{QuantizedMatrix, Scheme, Tiling};
use roundwise_tensor_file::{Dtype, TensorSpec};

use crate::layer_shape::LayerShape;
use crate::layout::Layout;
use crate::marker::{MARKER_PART, Marker};
use crate::matmul_precision::MatmulPrecision;
use crate::names::part_of_bank;
use crate::packing::{LayerTensor, Packing};
use crate::served::{Codes, Served};

/// The bytes of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedTensor {
    /// Name in the file.
    pub name: String,
    /// Bytes, little-endian, row-major.
    pub bytes: Vec<u8>,
}

impl Layout {
    /// Returns the tensors that layer `layer` becomes: its codes, its scales, its marker. Those of a bank hold the
    /// tensors of each expert, one behind the other.
    ///
    /// `scheme` must be [admitted](Layout::admits), and cover `shape`.
    pub fn layer_tensors(
        self,
        layer: &str,
        scheme: Scheme,
        precision: MatmulPrecision,
        shape: impl Into<LayerShape>,
    ) -> Vec<TensorSpec> {
        let shape = shape.into();
        let is_parameter = self.is_of_transposed_banks() && scheme.has_scales();
        let spec = |part: &str, dtype, shape: &[usize]| TensorSpec {
            name: match is_parameter {
                true => part_of_bank(layer, part),
                false => format!("{layer}.{part}"),
            },
            dtype,
            shape: shape.iter().map(|&size| size as u64).collect(),
        };
        let mut parts = Packing::of(self, scheme, shape.matrix).parts();
        for scale in parts.iter_mut().filter(|part| part.name == "weight_scale") {
            self.rename_scale(scale, scheme);
        }
        for part in &mut parts {
            // The number of experts in front, where there is one.
            part.shape.splice(0..0, shape.experts);
        }
        let mut specs: Vec<TensorSpec> =
            parts.iter().map(|part| spec(part.name, part.dtype, &part.shape)).collect();
        let marker = self.marker_part(scheme, shape, precision);
        specs.extend(marker.map(|(name, dtype, bytes)| {
            spec(name, dtype, &[bytes.len() * 8 / dtype.bits() as usize])
        }));
        specs
    }

    /// Gives a tensor of scales the name and the shape that readers of the layout know.
    fn rename_scale(self, scale: &mut LayerTensor, scheme: Scheme) {
        match self {
            Layout::Comfy | Layout::CompressedTensors | Layout::Mxfp4 => {}
            // Loaders of the old layout look for this name, and its writers give an F32 scale a dimension.
            Layout::ComfyLegacy => {
                scale.name = "scale_weight";
                if scale.dtype == Dtype::F32 {
                    scale.shape = vec![1];
                }
            }
            Layout::Fp8 if scheme.has_scales() => scale.name = "weight_scale_inv",
            Layout::ModelOpt if scheme.tiling() == Tiling::Tensor => scale.shape.clear(),
            // A vector, where the others have a matrix of one column.
            Layout::ModelOpt if scheme.tiling() == Tiling::Row => scale.shape.truncate(1),
            Layout::Fp8 | Layout::ModelOpt => {}
        }
    }

    /// Returns the bytes of the tensors that [`Layout::layer_tensors`] announced, in their order.
    pub fn pack(
        self,
        layer: &str,
        matrix: QuantizedMatrix,
        precision: MatmulPrecision,
    ) -> Vec<PackedTensor> {
        let (scheme, shape) = (matrix.scheme(), matrix.shape());
        let marker = self.marker_part(scheme, shape.into(), precision);
        let mut contents = Packing::of(self, scheme, shape).pack(matrix);
        contents.extend(marker.map(|(_, _, bytes)| bytes));
        let specs = self.layer_tensors(layer, scheme, precision, shape);
        let packed = specs.into_iter().zip(contents);
        packed.map(|(spec, bytes)| PackedTensor { name: spec.name, bytes }).collect()
    }

    /// Returns the tensor alone that says how to read the others, of those that [`Layout::layer_tensors`] announced.
    pub fn marker(
        self,
        layer: &str,
        scheme: Scheme,
        precision: MatmulPrecision,
        shape: impl Into<LayerShape>,
    ) -> Option<PackedTensor> {
        let (name, _, bytes) = self.marker_part(scheme, shape.into(), precision)?;
        Some(PackedTensor { name: format!("{layer}.{name}"), bytes })
    }

    /// Returns end of the name, dtype and bytes of a marker: ComfyUI's, or the shape of a weight
    /// whose words do not tell it.
    fn marker_part(
        self,
        scheme: Scheme,
        shape: LayerShape,
        precision: MatmulPrecision,
    ) -> Option<(&'static str, Dtype, Vec<u8>)> {
        match (self, Served::of(self, scheme)) {
            (Layout::Comfy, _) => {
                let json = Marker::of(scheme, shape)?.asking_for(precision).to_json();
                Some((MARKER_PART, Dtype::U8, json.into_bytes()))
            }
            (_, Some(Served { codes: Codes::Words, .. })) => {
                let sizes = shape.matrix.iter().flat_map(|size| (*size as u64).to_le_bytes());
                Some(("weight_shape", Dtype::I64, sizes.collect()))
            }
            _ => None,
        }
    }
}
