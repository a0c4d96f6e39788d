use std::fmt;

use roundwise_scheme::{QuantizedMatrix, Scheme};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::{LayoutError, weight_of};

/// How a file says that a layer is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A ComfyUI marker, in a tensor or in the header.
    Comfy,
    /// `scale_weight`, the ComfyUI spelling before markers.
    ComfyLegacy,
    /// `weight_scale` without a marker: vLLM and compressed-tensors.
    WeightScale,
    /// `weight_scale_inv` over 128×128 blocks: DeepSeek and Hugging Face.
    WeightScaleInv,
    /// Codes without any scale: the codes are the values.
    Plain,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Origin::Comfy => "comfy_quant marker",
            Origin::ComfyLegacy => "scale_weight",
            Origin::WeightScale => "weight_scale",
            Origin::WeightScaleInv => "weight_scale_inv",
            Origin::Plain => "no scale",
        })
    }
}

/// A layer of a file that is quantized already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLayer {
    /// Name without `.weight`.
    pub layer: String,
    /// How the codes are to be decoded.
    pub scheme: Scheme,
    /// `[rows, cols]`; a tensor of another rank counts as one row.
    pub shape: [usize; 2],
    /// How the file says so.
    pub origin: Origin,
    /// Name of the scale tensor; without one the scale is 1.
    pub scale: Option<String>,
}

impl StoredLayer {
    /// Reads codes and scales.
    ///
    /// # Errors
    /// [`LayoutError::File`] when the file cannot be read, [`LayoutError::Parts`] when scales and
    /// codes do not belong together.
    pub fn read(&self, file: &Checkpoint) -> Result<QuantizedMatrix, LayoutError> {
        let weight = weight_of(&self.layer);
        let codes = read_named(file, &weight)?.map(|(_, bytes)| bytes).unwrap_or_default();
        let scales = match &self.scale {
            Some(name) => read_named(file, name)?
                .map(|(header, bytes)| widen_scales(header.dtype, &bytes))
                .unwrap_or_default(),
            None => vec![1.0],
        };
        QuantizedMatrix::from_parts(self.scheme, self.shape, codes, scales)
            .map_err(|source| LayoutError::Parts { layer: self.layer.clone(), source })
    }
}

fn read_named<'a>(
    file: &'a Checkpoint,
    name: &str,
) -> Result<Option<(&'a TensorHeader, Vec<u8>)>, LayoutError> {
    match file.get(name) {
        Some(header) => Ok(Some((header, file.read(header)?))),
        None => Ok(None),
    }
}

/// Scales as `f32`; empty for a dtype that no known file stores scales in.
fn widen_scales(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let mut scales = vec![0.0; bytes.len() * 8 / dtype.bits() as usize];
    match dtype {
        Dtype::F32 => roundwise_grid::widen_f32(bytes, &mut scales),
        Dtype::BF16 => roundwise_grid::widen_bf16(bytes, &mut scales),
        Dtype::F16 => roundwise_grid::widen_f16(bytes, &mut scales),
        _ => return vec![],
    }
    scales
}
