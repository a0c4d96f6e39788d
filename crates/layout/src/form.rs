use roundwise_grid::E8m0;
use roundwise_scheme::{
    GridKind, LEVEL_GROUP, QuantizedMatrix, ScaleStorage, Scheme, SchemeError, Tiling,
};
use roundwise_tensor_file::Dtype;

use crate::nibbles::Nibbles;
use crate::swizzle::Swizzle;

/// Levels that a code of four bits chooses from.
const LEVELS: usize = 16;

/// The tensors that a matrix of some scheme and shape becomes in ComfyUI's files: padding, packing
/// and swizzles, which no other part of the program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    scheme: Scheme,
    /// `[rows, cols]` of the weight.
    shape: [usize; 2],
    /// The same with the zeros that fill the last rows and columns up.
    padded: [usize; 2],
    order: Order,
}

/// Where the scales of blocks lie, and the two codes of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Swizzled and padded; of E2M1, the even column in the high half.
    Comfy,
    /// Row-major, as many as there are blocks; the even column in the low half. No padding.
    Servers,
}

/// A tensor of a layer, its codes or its scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// What its name ends with, behind the layer.
    pub(crate) name: &'static str,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

impl Form {
    /// As it is written.
    pub(crate) fn of(scheme: Scheme, shape: [usize; 2]) -> Self {
        let padded = shape.map(|size| size.next_multiple_of(multiple(scheme)));
        Self { scheme, shape, padded, order: Order::Comfy }
    }

    /// As compressed-tensors and ModelOpt write it; for reading alone.
    pub(crate) fn of_servers(scheme: Scheme, shape: [usize; 2]) -> Self {
        Self { scheme, shape, padded: shape, order: Order::Servers }
    }

    /// As it was found.
    ///
    /// # Errors
    /// One line, when a tensor of codes of `padded` weights cannot hold `shape`. Rows need no
    /// padding: some programs add none.
    pub(crate) fn found(
        scheme: Scheme,
        shape: [usize; 2],
        padded: [usize; 2],
    ) -> Result<Self, String> {
        let multiple = multiple(scheme);
        let misfit =
            || format!("holds {padded:?} codes, no {shape:?} filled up to multiples of {multiple}");
        if shape[0] > padded[0] || shape[1] > padded[1] {
            return Err(misfit());
        }
        let written = Self::of(scheme, shape);
        let is_unpadded_below = padded == [shape[0], written.padded[1]];
        match padded == written.padded || is_unpadded_below {
            true => Ok(Self { padded, ..written }),
            false => Err(misfit()),
        }
    }

    /// Whether the tensor of codes has the shape of the weight.
    pub(crate) fn keeps_shape(self) -> bool {
        self.parts()[0].shape == self.shape
    }

    /// Whether zeros fill it up.
    pub(crate) fn is_padded(self) -> bool {
        self.padded != self.shape
    }

    /// The tensors: codes first, then scales.
    pub(crate) fn parts(self) -> Vec<Part> {
        let part = |name, dtype, shape: &[usize]| Part { name, dtype, shape: shape.to_vec() };
        let [rows, cols] = self.padded;
        let codes = match self.nibbles() {
            Some(_) => [rows, cols / 2],
            None => [rows, cols],
        };
        let codes = part("weight", code_dtype(self.scheme.grid()), &codes);
        match self.scheme.scale_storage() {
            ScaleStorage::F32(_) if self.scheme.grid() == GridKind::F16 => {
                vec![codes, part("scale_weight", Dtype::F32, &[1])]
            }
            ScaleStorage::F32(_) => {
                let scales = scale_shape(self.scheme, self.shape);
                vec![codes, part("weight_scale", Dtype::F32, &scales)]
            }
            ScaleStorage::Logarithmic { is_shared, .. } => {
                let shape: &[usize] = if is_shared { &[1] } else { &[] };
                vec![codes, part("scale_weight", Dtype::U8, shape)]
            }
            ScaleStorage::Leveled => vec![
                codes,
                part("weight_s_channel", Dtype::F32, &[rows]),
                part("weight_s_rel", Dtype::F8E4M3, &[rows, cols / LEVEL_GROUP]),
                part("weight_codebook", Dtype::F32, &[LEVELS]),
            ],
            ScaleStorage::PowerOfTwo => {
                vec![codes, part("weight_scale", Dtype::U8, &self.swizzle().shape())]
            }
            ScaleStorage::PowerOfTwoAndLargest => vec![
                codes,
                part("weight_scale", Dtype::U8, &self.swizzle().shape()),
                part("weight_scalar", Dtype::F32, &[]),
            ],
            ScaleStorage::TwoLevel => vec![
                codes,
                part("weight_scale", Dtype::F8E4M3, &self.swizzle().shape()),
                part("weight_scale_2", Dtype::F32, &[]),
            ],
            ScaleStorage::Unscaled => vec![codes],
        }
    }

    /// The bytes of [`Form::parts`].
    pub(crate) fn pack(self, matrix: QuantizedMatrix) -> Vec<Vec<u8>> {
        if let Some((codes, levels)) = matrix.leveled_codes() {
            let table = levels.table().iter().flat_map(|level| level.to_le_bytes()).collect();
            let group_scales = levels.group_scales().to_vec();
            return vec![self.pack_codes(codes), matrix.scale_bytes(), group_scales, table];
        }
        let scales = matrix.scale_bytes();
        let tensor = matrix.tensor_scale().to_le_bytes().to_vec();
        let codes = self.pack_codes(matrix.into_codes());
        match self.scheme.scale_storage() {
            ScaleStorage::F32(_) | ScaleStorage::Logarithmic { .. } | ScaleStorage::Leveled => {
                vec![codes, scales]
            }
            ScaleStorage::PowerOfTwo => vec![codes, self.swizzle().apply(&scales)],
            ScaleStorage::PowerOfTwoAndLargest => {
                let largest = largest_scale(&scales).to_le_bytes().to_vec();
                vec![codes, self.swizzle().apply(&scales), largest]
            }
            ScaleStorage::TwoLevel => vec![codes, self.swizzle().apply(&scales), tensor],
            ScaleStorage::Unscaled => vec![codes],
        }
    }

    /// The matrix of such bytes, whose lengths are those of [`Form::parts`].
    ///
    /// - `scales`: as stored
    /// - `tensor`: the factor of all scales, 1 where there is none
    ///
    /// # Errors
    /// As [`QuantizedMatrix::from_parts`].
    pub(crate) fn unpack(
        self,
        codes: Vec<u8>,
        scales: &[u8],
        tensor: f32,
    ) -> Result<QuantizedMatrix, SchemeError> {
        let codes = self.unpack_codes(codes);
        let is_swizzled = self.order == Order::Comfy && self.scheme.scale_storage().is_of_blocks();
        let unswizzled = is_swizzled.then(|| self.swizzle().undo(scales));
        let scales = unswizzled.as_deref().unwrap_or(scales);
        QuantizedMatrix::from_stored(self.scheme, self.shape, codes, scales, tensor)
    }

    /// One byte or more for each weight.
    pub(crate) fn unpack_codes(self, codes: Vec<u8>) -> Vec<u8> {
        let codes = match self.nibbles() {
            Some(nibbles) => nibbles.unpack(&codes),
            None => codes,
        };
        resized(codes, self.padded, self.shape, self.scheme.grid().code_bytes())
    }

    fn pack_codes(self, codes: Vec<u8>) -> Vec<u8> {
        let mut codes = resized(codes, self.shape, self.padded, self.scheme.grid().code_bytes());
        if let Some(nibbles) = self.nibbles() {
            nibbles.pack(&mut codes);
        }
        codes
    }

    /// Padding is less than a tile of the swizzle, so that it needs none itself.
    fn swizzle(self) -> Swizzle {
        let [rows, cols] = self.shape;
        let [_, across] = self.scheme.tiling().tiles(rows, cols);
        Swizzle::of(rows, across)
    }

    fn nibbles(self) -> Option<Nibbles> {
        if self.scheme.scale_storage() == ScaleStorage::Leveled {
            return Some(Nibbles::EvenLow);
        }
        match (self.scheme.grid(), self.order) {
            (GridKind::E2m1, Order::Comfy) => Some(Nibbles::EvenHigh),
            (GridKind::E2m1, Order::Servers) | (GridKind::Int4, _) => Some(Nibbles::EvenLow),
            (
                GridKind::E4m3 | GridKind::E5m2 | GridKind::Int8 | GridKind::F16 | GridKind::Bf16,
                _,
            ) => None,
        }
    }
}

/// Rows and columns are filled up with zeros to a multiple of this.
fn multiple(scheme: Scheme) -> usize {
    match scheme.scale_storage() {
        ScaleStorage::F32(_)
        | ScaleStorage::Logarithmic { .. }
        | ScaleStorage::Leveled
        | ScaleStorage::Unscaled => 1,
        ScaleStorage::PowerOfTwo | ScaleStorage::PowerOfTwoAndLargest => 32,
        ScaleStorage::TwoLevel => 16,
    }
}

/// Cuts a row-major matrix, or fills it up with zeros.
fn resized(codes: Vec<u8>, from: [usize; 2], to: [usize; 2], code_bytes: usize) -> Vec<u8> {
    if from == to {
        return codes;
    }
    let [from_row, to_row] = [from[1] * code_bytes, to[1] * code_bytes];
    let common = from_row.min(to_row);
    let mut resized = vec![0; to[0] * to_row];
    if common > 0 {
        for (to, from) in resized.chunks_mut(to_row).zip(codes.chunks(from_row)) {
            to[..common].copy_from_slice(&from[..common]);
        }
    }
    resized
}

pub(crate) fn code_dtype(grid: GridKind) -> Dtype {
    match grid {
        GridKind::E2m1 => Dtype::U8,
        GridKind::E4m3 => Dtype::F8E4M3,
        GridKind::E5m2 => Dtype::F8E5M2,
        GridKind::Int4 | GridKind::Int8 => Dtype::I8,
        GridKind::F16 => Dtype::F16,
        GridKind::Bf16 => Dtype::BF16,
    }
}

/// The largest of E8M0 scales; 1 where there are none but those of zeros.
fn largest_scale(scales: &[u8]) -> f32 {
    match scales.iter().max() {
        None | Some(0) => 1.0,
        Some(&largest) => E8m0::decode(largest),
    }
}

/// INT8 rows are `[N, 1]`: a `[N]` scale computes in ComfyUI and then fails to dequantize. Blocks of
/// one row are `[N, K / n, 1]`, as published.
fn scale_shape(scheme: Scheme, [rows, cols]: [usize; 2]) -> Vec<usize> {
    match (scheme.grid(), scheme.tiling()) {
        (GridKind::Int8, Tiling::Row) => vec![rows, 1],
        (GridKind::E4m3, tiling @ Tiling::Block { rows: 1, cols: 2.. }) => {
            let mut shape = tiling.scale_shape(rows, cols);
            shape.push(1);
            shape
        }
        (_, tiling) => tiling.scale_shape(rows, cols),
    }
}
