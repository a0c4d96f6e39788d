use std::fmt;

use roundwise_grid::{E4m3, Grid};
use roundwise_scheme::{Levels, QuantizedMatrix, ScaleStorage, Scales, Scheme};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::form::Form;
use crate::names::packed_weight_of;
use crate::{LayoutError, weight_of};

/// What divides all scales of a layer of compressed-tensors.
pub(crate) const GLOBAL_SCALE: &str = "weight_global_scale";

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
    /// `weight_packed` and a `weight_global_scale` that divides: NVFP4 of compressed-tensors.
    WeightPacked,
    /// Packed codes and `weight_scale_2` without a marker: NVFP4 of ModelOpt.
    WeightScale2,
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
            Origin::WeightPacked => "weight_packed",
            Origin::WeightScale2 => "weight_scale_2",
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
    /// `[rows, cols]`; a tensor of another rank counts as one row. Where the file does not say what
    /// of a padded weight is padding, it counts as weight.
    pub shape: [usize; 2],
    /// The same with padding.
    pub stored_shape: [usize; 2],
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
        let codes = read_named(file, &self.weight())?.map(|(_, bytes)| bytes).unwrap_or_default();
        let scale = match &self.scale {
            Some(name) => read_named(file, name)?,
            None => None,
        };
        let parts = |source| LayoutError::Parts { layer: self.layer.clone(), source };
        match self.scheme.scale_storage() {
            ScaleStorage::F32(_) | ScaleStorage::Unscaled => {
                let scales = match scale {
                    Some((header, bytes)) => widen_scales(header.dtype, &bytes),
                    None => vec![1.0],
                };
                let scales: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
                self.form().unpack(codes, &scales, 1.0).map_err(parts)
            }
            ScaleStorage::Leveled => {
                let row_scales = scale.map(|(header, bytes)| widen_scales(header.dtype, &bytes));
                let codes = self.form().unpack_codes(codes);
                let levels = self.read_levels(file)?;
                let levels = levels.map_err(|problem| LayoutError::Levels {
                    layer: self.layer.clone(),
                    problem,
                })?;
                let row_scales = row_scales.unwrap_or_default();
                QuantizedMatrix::from_leveled(self.scheme, self.shape, codes, row_scales, levels)
                    .map_err(parts)
            }
            ScaleStorage::PowerOfTwo
            | ScaleStorage::PowerOfTwoAndLargest
            | ScaleStorage::Logarithmic { .. } => {
                let scales = scale.map(|(_, bytes)| bytes).unwrap_or_default();
                self.form().unpack(codes, &scales, 1.0).map_err(parts)
            }
            ScaleStorage::TwoLevel => {
                let scales = scale.map(|(_, bytes)| bytes).unwrap_or_default();
                let tensor = self.tensor_scale(file)?;
                if self.origin != Origin::WeightPacked {
                    return self.form().unpack(codes, &scales, tensor).map_err(parts);
                }
                let blocks = self.form().unpack(codes, &scales, 1.0).map_err(parts)?;
                let tiles = blocks.scales().iter().map(|block| block / tensor).collect();
                let scales = Scales { tiles, tensor: 1.0 / tensor };
                let (scheme, shape) = (blocks.scheme(), blocks.shape());
                QuantizedMatrix::from_parts(scheme, shape, blocks.into_codes(), scales)
                    .map_err(parts)
            }
        }
    }

    fn read_levels(&self, file: &Checkpoint) -> Result<Result<Levels, String>, LayoutError> {
        let group_scales = read_named(file, &format!("{}.weight_s_rel", self.layer))?;
        let group_scales = group_scales.map(|(_, bytes)| bytes).unwrap_or_default();
        let table = read_named(file, &format!("{}.weight_codebook", self.layer))?;
        let table = table.map(|(_, bytes)| {
            let (levels, _) = bytes.as_chunks();
            std::array::from_fn(|at| levels.get(at).map_or(f32::NAN, |l| f32::from_le_bytes(*l)))
        });
        Ok(Levels::new(table, group_scales))
    }

    /// Name of the tensor that holds the codes.
    pub fn weight(&self) -> String {
        match self.origin {
            Origin::WeightPacked => packed_weight_of(&self.layer),
            Origin::Comfy
            | Origin::ComfyLegacy
            | Origin::WeightScale
            | Origin::WeightScaleInv
            | Origin::WeightScale2
            | Origin::Plain => weight_of(&self.layer),
        }
    }

    /// Whether its codes and scales stand for the very same numbers in ComfyUI's files, which
    /// multiply scales where compressed-tensors divides.
    ///
    /// # Errors
    /// [`LayoutError::File`] when the file cannot be read.
    pub fn multiplies_exactly(&self, file: &Checkpoint) -> Result<bool, LayoutError> {
        if self.origin != Origin::WeightPacked {
            return Ok(true);
        }
        let divisor = self.tensor_scale(file)?;
        let is_same = |block: f32| block / divisor == block * (1.0 / divisor);
        Ok((0..0x7F).map(E4m3::decode).all(is_same))
    }

    /// The factor of all scales; of compressed-tensors what divides them.
    fn tensor_scale(&self, file: &Checkpoint) -> Result<f32, LayoutError> {
        let part = match self.origin {
            Origin::WeightPacked => GLOBAL_SCALE,
            _ => "weight_scale_2",
        };
        let tensor = read_named(file, &format!("{}.{part}", self.layer))?;
        let tensor = tensor.and_then(|(_, bytes)| bytes.first_chunk().copied());
        Ok(f32::from_le_bytes(tensor.unwrap_or_default()))
    }

    /// The same layer cut to a shape that fills the same tensors: for who knows the weight's own.
    ///
    /// `None` when the stored codes cannot be those of such a weight.
    #[must_use]
    pub fn cut_to(&self, shape: [usize; 2]) -> Option<Self> {
        Form::found(self.scheme, shape, self.stored_shape).ok()?;
        Some(Self { shape, ..self.clone() })
    }

    fn form(&self) -> Form {
        let is_of_blocks = matches!(
            self.scheme.scale_storage(),
            ScaleStorage::PowerOfTwo | ScaleStorage::TwoLevel
        );
        if is_of_blocks && self.origin != Origin::Comfy {
            return Form::of_servers(self.scheme, self.shape);
        }
        Form::found(self.scheme, self.shape, self.stored_shape)
            .expect("a layer is found only in tensors that hold its shape")
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
