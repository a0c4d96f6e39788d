use roundwise_grid::{E4m3, Grid};
use roundwise_scheme::{
    QuantizedMatrix, ScaleNumbers, ScaleRole, Scales, Scheme, SchemeError, StoredScales,
};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::error::LayoutError;
use crate::names::{packed_weight_of, weight_of};
use crate::packing::{Packing, scale_part_name};
use crate::read::foreign::parts::widened as widened_numbers;
use crate::read::joined::{joined, scheme_of_joined};
use crate::read::spelling::Spelling;
use crate::served::Codes;

/// Name of the number that divides all scales of a layer of compressed-tensors.
pub(crate) const GLOBAL_SCALE: &str = "weight_global_scale";

/// A layer of a file that is quantized already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLayer {
    /// Name without `.weight`.
    pub layer: String,
    /// The scheme that decodes its codes.
    pub scheme: Scheme,
    /// `[rows, cols]`, of each expert in a bank; a tensor of any other rank counts as one row. Where
    /// the file does not say which part of a weight is padding, all of it counts as weight.
    pub shape: [usize; 2],
    /// `[rows, cols]` with padding.
    pub stored_shape: [usize; 2],
    /// How the file says that it is quantized.
    pub spelling: Spelling,
    /// Name of the scale tensor; without one the scale is 1.
    pub scale: Option<String>,
    /// How many matrices lie behind each other, each of this shape and scheme, where it is a bank of experts.
    pub experts: Option<usize>,
}

impl StoredLayer {
    /// Returns the shape of the numbers that its codes stand for, which is not that of the codes where they are
    /// packed or padded.
    ///
    /// - `codes`: the tensor that holds them
    pub fn shape_of(&self, codes: &TensorHeader) -> Vec<u64> {
        match codes.shape.len() == 2 || self.experts.is_some() {
            true => self.experts.into_iter().chain(self.shape).map(|size| size as u64).collect(),
            false => codes.shape.clone(),
        }
    }

    /// Reads codes and scales. Those of all experts are one matrix, which decodes to their numbers in their order.
    ///
    /// # Errors
    /// [`LayoutError::File`] when the file cannot be read, [`LayoutError::Parts`] when scales and
    /// codes do not belong together, [`LayoutError::NotFinite`] when a scale is a NaN or an infinity.
    pub fn read(&self, file: &Checkpoint) -> Result<QuantizedMatrix, LayoutError> {
        let Some(experts) = self.experts else { return self.read_matrix(file, None) };
        let matrices = (0..experts).map(|expert| self.read_matrix(file, Some(expert)));
        let (codes, scales) = joined(matrices)?;
        let (scheme, shape) = scheme_of_joined(self.scheme, experts, self.shape);
        QuantizedMatrix::from_parts(scheme, shape, codes, scales)
            .map_err(|source| LayoutError::Parts { layer: self.layer.clone(), source })
    }

    /// Reads codes and scales of one expert of a bank.
    ///
    /// # Errors
    /// As [`StoredLayer::read`].
    ///
    /// # Panics
    /// When the layer is no bank, or has no such expert.
    pub fn read_expert(
        &self,
        file: &Checkpoint,
        expert: usize,
    ) -> Result<QuantizedMatrix, LayoutError> {
        assert!(self.experts.is_some_and(|experts| expert < experts), "an expert of the bank");
        self.read_matrix(file, Some(expert))
    }

    fn read_matrix(
        &self,
        file: &Checkpoint,
        expert: Option<usize>,
    ) -> Result<QuantizedMatrix, LayoutError> {
        let read = |name: &str| self.read_part(file, name, expert);
        // A tensor that went missing counts as empty, which no shape of a layer fits.
        let codes = read(&self.weight())?.map(|(_, bytes)| bytes).unwrap_or_default();
        let mut scales = StoredScales::new();
        for part in self.scheme.scale_parts(self.shape) {
            let name = self.scale_name(part.role);
            if let Some((header, bytes)) = name.map(|name| read(&name)).transpose()?.flatten() {
                let bytes = match part.numbers {
                    ScaleNumbers::F32 => widened(header.dtype, bytes),
                    ScaleNumbers::Bf16
                    | ScaleNumbers::E4m3
                    | ScaleNumbers::E8m0
                    | ScaleNumbers::Logarithm
                    | ScaleNumbers::Nibbles => bytes,
                };
                scales.insert(part.role, bytes);
            }
        }
        let parts = |source| LayoutError::Parts { layer: self.layer.clone(), source };
        let matrix = self.packing().unpack(codes, scales).map_err(parts)?;
        let matrix = match self.spelling {
            Spelling::WeightPacked => divided(matrix, self.global_scale(file)?).map_err(parts)?,
            Spelling::Comfy
            | Spelling::ComfyLegacy
            | Spelling::WeightScale
            | Spelling::WeightScaleInv
            | Spelling::Scale
            | Spelling::PackedIntegers
            | Spelling::PackedMicroscaled
            | Spelling::WeightScale2
            | Spelling::Plain => matrix,
        };
        // All weights under such a scale would become NaN, and a later error would blame their codes.
        match matrix.scales().iter().position(|scale| !scale.is_finite()) {
            None => Ok(matrix),
            Some(at) => Err(LayoutError::NotFinite {
                layer: self.layer.clone(),
                problem: format!("scale {at} is no number: a NaN or an infinity"),
            }),
        }
    }

    /// Reads a tensor of the layer, or the part of it that is an expert's.
    fn read_part<'a>(
        &self,
        file: &'a Checkpoint,
        name: &str,
        expert: Option<usize>,
    ) -> Result<Option<(&'a TensorHeader, Vec<u8>)>, LayoutError> {
        let (Some(header), Some(expert)) = (file.get(name), expert) else {
            return read_named(file, name);
        };
        // A number without a dimension is for all of them.
        let parts = if header.shape.is_empty() { 1 } else { self.experts.unwrap_or(1) as u64 };
        let length = header.byte_len() / parts;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let first = if parts == 1 { 0 } else { expert as u64 * length };
        file.read_into(header, first, &mut bytes)?;
        Ok(Some((header, bytes)))
    }

    /// Returns the names of the tensors that hold its scales, those that a file may lack included, and
    /// what numbers they hold. Swizzled ones are left out, whose padding may be anything.
    pub(crate) fn scale_names(&self) -> Vec<(String, ScaleNumbers)> {
        let is_swizzled = |role: ScaleRole| {
            role == ScaleRole::Tiles
                && self.scheme.has_block_scales()
                && self.spelling == Spelling::Comfy
        };
        let parts = self.scheme.scale_parts(self.shape).into_iter();
        let parts = parts.filter(|part| !is_swizzled(part.role));
        let names = parts.filter_map(|part| Some((self.scale_name(part.role)?, part.numbers)));
        let global = (self.spelling == Spelling::WeightPacked)
            .then(|| (format!("{}.{GLOBAL_SCALE}", self.layer), ScaleNumbers::F32));
        names.chain(global).collect()
    }

    /// Returns the name of the tensor that holds some scales, `None` where there is none.
    fn scale_name(&self, role: ScaleRole) -> Option<String> {
        let scale = match role {
            ScaleRole::Tiles | ScaleRole::Rows => return self.scale.clone(),
            // This number divides, so that it is no factor; `divided` applies it.
            ScaleRole::Tensor if self.spelling == Spelling::WeightPacked => return None,
            // It repeats a scale for other readers.
            ScaleRole::Largest => return None,
            ScaleRole::Tensor | ScaleRole::Groups | ScaleRole::Levels | ScaleRole::ZeroPoints => {
                scale_part_name(role)
            }
        };
        Some(format!("{}.{scale}", self.layer))
    }

    /// Returns the name of the tensor that holds the codes.
    pub fn weight(&self) -> String {
        match self.spelling {
            Spelling::WeightPacked | Spelling::PackedIntegers | Spelling::PackedMicroscaled => {
                packed_weight_of(&self.layer)
            }
            Spelling::Comfy
            | Spelling::ComfyLegacy
            | Spelling::WeightScale
            | Spelling::WeightScaleInv
            | Spelling::Scale
            | Spelling::WeightScale2
            | Spelling::Plain => weight_of(&self.layer),
        }
    }

    /// Tells whether its codes and scales stand for the very same numbers in ComfyUI's files, which
    /// multiply scales where compressed-tensors divides.
    ///
    /// # Errors
    /// [`LayoutError::File`] when the file cannot be read.
    pub fn multiplies_exactly(&self, file: &Checkpoint) -> Result<bool, LayoutError> {
        if self.spelling != Spelling::WeightPacked {
            return Ok(true);
        }
        let divisor = self.global_scale(file)?;
        // Every E4M3 scale there is: `b / d` and `b · (1 / d)` differ where 1 / d is rounded.
        let is_same = |block: f32| block / divisor == block * (1.0 / divisor);
        Ok((0..0x7F).map(E4m3::decode).all(is_same))
    }

    /// Reads the number that divides all scales.
    fn global_scale(&self, file: &Checkpoint) -> Result<f32, LayoutError> {
        let tensor = read_named(file, &format!("{}.{GLOBAL_SCALE}", self.layer))?;
        // A missing number counts as 0: dividing by it gives an infinity, which is refused where scales
        // are read.
        let tensor = tensor.and_then(|(_, bytes)| bytes.first_chunk().copied());
        Ok(f32::from_le_bytes(tensor.unwrap_or_default()))
    }

    /// Returns the layer cut to a shape that fills the same tensors, for callers who know the weight's
    /// own shape. `None` when the stored codes cannot be those of such a weight.
    #[must_use]
    pub fn cut_to(&self, shape: [usize; 2]) -> Option<Self> {
        Packing::found(self.scheme, shape, self.stored_shape).ok()?;
        Some(Self { shape, ..self.clone() })
    }

    /// Returns how codes lie where they are packed, or have scales of bytes, as in servers' files.
    fn server_codes(&self) -> Option<Codes> {
        match self.spelling {
            Spelling::PackedIntegers => Some(Codes::Words),
            Spelling::WeightPacked | Spelling::PackedMicroscaled => Some(Codes::PackedNibbles),
            Spelling::WeightScale2 => Some(Codes::Nibbles),
            Spelling::ComfyLegacy
            | Spelling::WeightScale
            | Spelling::WeightScaleInv
            | Spelling::Scale
            | Spelling::Plain => self.scheme.has_block_scales().then_some(Codes::Bytes),
            Spelling::Comfy => None,
        }
    }

    fn packing(&self) -> Packing {
        if let Some(codes) = self.server_codes() {
            return Packing::of_servers(self.scheme, self.shape, codes);
        }
        Packing::found(self.scheme, self.shape, self.stored_shape)
            .expect("a layer is found only in tensors that hold its shape")
    }
}

/// Returns a matrix whose scales are divided by a number.
fn divided(matrix: QuantizedMatrix, divisor: f32) -> Result<QuantizedMatrix, SchemeError> {
    let tiles = matrix.scales().iter().map(|scale| scale / divisor).collect();
    let scales = Scales { tiles, tensor: 1.0 / divisor, zeros: vec![] };
    let (scheme, shape) = (matrix.scheme(), matrix.shape());
    QuantizedMatrix::from_parts(scheme, shape, matrix.into_codes(), scales)
}

/// Returns the `[rows, cols]` of a weight. A tensor of another rank counts as one row.
///
/// # Errors
/// One line, when it is too large for this machine.
pub(crate) fn matrix_shape(weight: &TensorHeader) -> Result<[usize; 2], String> {
    let size = |count: u64| {
        usize::try_from(count).map_err(|_| format!("{count} is too large for this machine"))
    };
    match weight.shape[..] {
        [rows, cols] => Ok([size(rows)?, size(cols)?]),
        _ => Ok([1, size(weight.element_count())?]),
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

/// Widens scales to the bytes of F32 numbers; none for a dtype that no known file stores scales in. Bytes
/// are powers of two.
fn widened(dtype: Dtype, bytes: Vec<u8>) -> Vec<u8> {
    match dtype {
        Dtype::F32 => bytes,
        _ => widened_numbers(dtype, &bytes).iter().flat_map(|scale| scale.to_le_bytes()).collect(),
    }
}
