//! Padding, packing and swizzles, which no other part of the program sees.

mod nibbles;
mod swizzle;

use roundwise_scheme::{
    GridKind, QuantizedMatrix, ScaleNumbers, ScalePart, ScaleRole, Scheme, SchemeError,
    StoredScales, Tiling,
};
use roundwise_tensor_file::Dtype;

use crate::layout::Layout;
use crate::packing::nibbles::Nibbles;
use crate::packing::swizzle::Swizzle;
use crate::served::{Codes, Served};

/// The tensors that a matrix of some scheme and shape becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    scheme: Scheme,
    /// `[rows, cols]` of the weight.
    shape: [usize; 2],
    /// `[rows, cols]` with the zeros that fill the last rows and columns up.
    padded: [usize; 2],
    order: Order,
}

/// Where the scales of blocks lie, and the two codes of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Swizzled and padded; of E2M1, the even column in the high half.
    Comfy,
    /// Row-major, as many as there are blocks; the even column in the low half. No padding.
    Servers(Codes),
}

/// A tensor of a layer, its codes or its scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerTensor {
    /// End of its name, behind the layer's.
    pub(crate) name: &'static str,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

impl Packing {
    /// Makes the packing that a layout writes.
    pub(crate) fn of(layout: Layout, scheme: Scheme, shape: [usize; 2]) -> Self {
        match Served::of(layout, scheme) {
            Some(served) => Self::of_servers(scheme, shape, served.codes),
            None => Self::of_comfy(scheme, shape),
        }
    }

    /// Makes the packing of ComfyUI's files.
    pub(crate) fn of_comfy(scheme: Scheme, shape: [usize; 2]) -> Self {
        // Rows as well as columns: fast kernels take whole blocks in both directions.
        let padded = shape.map(|size| size.next_multiple_of(padding_multiple(scheme)));
        Self { scheme, shape, padded, order: Order::Comfy }
    }

    /// Makes the packing of servers' files.
    pub(crate) fn of_servers(scheme: Scheme, shape: [usize; 2], codes: Codes) -> Self {
        Self { scheme, shape, padded: shape, order: Order::Servers(codes) }
    }

    /// Makes the packing that was found.
    ///
    /// # Errors
    /// One line, when a tensor of codes of `padded` weights cannot hold `shape`. Rows need no
    /// padding: some programs add none.
    pub(crate) fn found(
        scheme: Scheme,
        shape: [usize; 2],
        padded: [usize; 2],
    ) -> Result<Self, String> {
        let multiple = padding_multiple(scheme);
        let misfit =
            || format!("holds {padded:?} codes, no {shape:?} filled up to multiples of {multiple}");
        if shape[0] > padded[0] || shape[1] > padded[1] {
            return Err(misfit());
        }
        let written = Self::of_comfy(scheme, shape);
        // comfy-quants, the official exporter, adds no rows; ComfyUI decodes both.
        let is_unpadded_below = padded == [shape[0], written.padded[1]];
        match padded == written.padded || is_unpadded_below {
            true => Ok(Self { padded, ..written }),
            false => Err(misfit()),
        }
    }

    /// Tells whether the tensor of codes has the shape of the weight.
    pub(crate) fn keeps_shape(self) -> bool {
        self.parts()[0].shape == self.shape
    }

    /// Tells whether zeros fill it up.
    pub(crate) fn is_padded(self) -> bool {
        self.padded != self.shape
    }

    /// Returns the tensors: codes first, then scales.
    pub(crate) fn parts(self) -> Vec<LayerTensor> {
        let [rows, cols] = self.padded;
        let cols_of_bytes = if self.nibbles().is_some() { cols / 2 } else { cols };
        let of_grid = code_dtype(self.scheme.grid());
        let (name, dtype, cols) = match self.order {
            Order::Comfy | Order::Servers(Codes::Bytes | Codes::Nibbles) => {
                ("weight", of_grid, cols_of_bytes)
            }
            Order::Servers(Codes::PackedNibbles) => ("weight_packed", of_grid, cols_of_bytes),
            Order::Servers(Codes::Blocks) => {
                // What shares a scale is the last dimension.
                let [_, blocks] = self.scheme.tiling().tiles(rows, cols);
                let shape = vec![rows, blocks, cols_of_bytes / blocks.max(1)];
                return self.with_scales(LayerTensor { name: BLOCKS, dtype: of_grid, shape });
            }
            // Eight nibbles to a word of 32 bits, or four bytes: the row of bytes, seen as words.
            Order::Servers(Codes::Words) => ("weight_packed", Dtype::I32, cols_of_bytes / 4),
        };
        self.with_scales(LayerTensor { name, dtype, shape: vec![rows, cols] })
    }

    fn with_scales(self, codes: LayerTensor) -> Vec<LayerTensor> {
        let scales = self.scheme.scale_parts(self.shape).into_iter().map(|part| LayerTensor {
            name: self.scale_name(part.role),
            dtype: scale_dtype(part.numbers),
            shape: self.scale_shape(part),
        });
        [codes].into_iter().chain(scales).collect()
    }

    /// Returns the bytes of [`Packing::parts`].
    pub(crate) fn pack(self, matrix: QuantizedMatrix) -> Vec<Vec<u8>> {
        let scales = matrix.stored_scales().into_iter().map(|(role, bytes)| match role {
            _ if self.is_swizzled(role) => self.swizzle().apply(&bytes),
            // compressed-tensors divides by this number. Of a power of two, as
            // `Scheme::for_servers` chooses it, the inverse is exact.
            ScaleRole::Tensor if self.divides() => inverse(&bytes),
            _ => bytes,
        });
        let scales: Vec<Vec<u8>> = scales.collect();
        let codes = self.pack_codes(matrix.into_stored_codes());
        [codes].into_iter().chain(scales).collect()
    }

    /// Reads the matrix of such bytes, whose lengths are those of [`Packing::parts`].
    ///
    /// - `scales`: as stored
    ///
    /// # Errors
    /// As [`QuantizedMatrix::from_stored`].
    pub(crate) fn unpack(
        self,
        codes: Vec<u8>,
        mut scales: StoredScales,
    ) -> Result<QuantizedMatrix, SchemeError> {
        for (role, bytes) in &mut scales {
            if self.is_swizzled(*role) {
                *bytes = self.swizzle().undo(bytes);
            }
        }
        let codes = self.unpack_codes(codes);
        QuantizedMatrix::from_stored(self.scheme, self.shape, codes, &scales)
    }

    /// Returns one byte or more for each weight.
    fn unpack_codes(self, codes: Vec<u8>) -> Vec<u8> {
        let mut codes = match self.nibbles() {
            Some(nibbles) => nibbles.unpack(&codes),
            None => codes,
        };
        self.exchange_halves(&mut codes);
        resized(codes, self.padded, self.shape, self.scheme.grid().code_bytes())
    }

    fn pack_codes(self, codes: Vec<u8>) -> Vec<u8> {
        let mut codes = resized(codes, self.shape, self.padded, self.scheme.grid().code_bytes());
        self.exchange_halves(&mut codes);
        if let Some(nibbles) = self.nibbles() {
            nibbles.pack(&mut codes);
        }
        codes
    }

    /// Turns whole numbers with a sign into positive ones by adding half of their range, or back.
    fn exchange_halves(self, codes: &mut [u8]) {
        if self.order == Order::Servers(Codes::Words) {
            // Adding half of the range flips the highest bit, and so does subtracting it.
            let half = 1 << (self.scheme.code_bits() - 1);
            codes.iter_mut().for_each(|code| *code ^= half);
        }
    }

    /// Tells whether readers divide by the factor of all scales.
    fn divides(self) -> bool {
        self.order == Order::Servers(Codes::PackedNibbles)
    }

    fn scale_name(self, role: ScaleRole) -> &'static str {
        match role {
            ScaleRole::Tensor if self.divides() => "weight_global_scale",
            ScaleRole::Tiles if self.order == Order::Servers(Codes::Blocks) => BLOCK_SCALES,
            role => scale_part_name(role),
        }
    }

    fn is_swizzled(self, role: ScaleRole) -> bool {
        let is_of_blocks = self.scheme.has_block_scales() && role == ScaleRole::Tiles;
        self.order == Order::Comfy && is_of_blocks
    }

    /// Returns the order of the scales of blocks. Padding of the codes is less than one of its tiles,
    /// and needs no scales.
    fn swizzle(self) -> Swizzle {
        let [rows, cols] = self.shape;
        let [_, across] = self.scheme.tiling().tiles(rows, cols);
        Swizzle::of(rows, across)
    }

    fn nibbles(self) -> Option<Nibbles> {
        let is_even_high = self.scheme.grid() == GridKind::E2m1 && self.order == Order::Comfy;
        let nibbles = if is_even_high { Nibbles::EvenHigh } else { Nibbles::EvenLow };
        (self.scheme.code_bits() == 4).then_some(nibbles)
    }

    /// Returns the shape that loaders need. INT8 rows are `[N, 1]`: a `[N]` scale computes in
    /// ComfyUI and then fails to dequantize. Groups of a row are `[N, K / n, 1]`, as published.
    fn scale_shape(self, part: ScalePart) -> Vec<usize> {
        let has_last_axis = matches!(
            (self.scheme.grid(), self.scheme.tiling()),
            (GridKind::Int8, Tiling::Row) | (GridKind::E4m3, Tiling::Block { rows: 1, cols: 2.. })
        );
        if let Order::Servers(codes) = self.order {
            return match (part.role, self.scheme.tiling()) {
                (ScaleRole::Tiles, Tiling::Row) => [part.shape, vec![1]].concat(),
                (ScaleRole::Tiles, Tiling::Tensor) => vec![1],
                (ScaleRole::Tensor, _) if codes == Codes::PackedNibbles => vec![1],
                _ => part.shape,
            };
        }
        match part.role {
            ScaleRole::Tiles if self.is_swizzled(part.role) => self.swizzle().shape().to_vec(),
            ScaleRole::Tiles if has_last_axis => [part.shape, vec![1]].concat(),
            _ => part.shape,
        }
    }
}

/// What follows the name of a bank of experts in gpt-oss: its codes, and their scales.
pub(crate) const BLOCKS: &str = "blocks";
pub(crate) const BLOCK_SCALES: &str = "scales";

/// Name of the numbers that stand for 0 in layers of compressed-tensors.
pub(crate) const ZERO_POINT: &str = "weight_zero_point";

/// Returns what a tensor of scales is called.
pub(crate) fn scale_part_name(role: ScaleRole) -> &'static str {
    match role {
        ScaleRole::Tiles => "weight_scale",
        ScaleRole::Tensor => "weight_scale_2",
        ScaleRole::Largest => "weight_scalar",
        ScaleRole::Rows => "weight_s_channel",
        ScaleRole::Groups => "weight_s_rel",
        ScaleRole::Levels => "weight_codebook",
        ScaleRole::ZeroPoints => ZERO_POINT,
    }
}

/// Returns the dtype of some scales. ComfyUI's own parser knows none for exponents, which are U8.
fn scale_dtype(numbers: ScaleNumbers) -> Dtype {
    match numbers {
        ScaleNumbers::F32 => Dtype::F32,
        ScaleNumbers::Bf16 => Dtype::BF16,
        ScaleNumbers::E4m3 => Dtype::F8E4M3,
        ScaleNumbers::E8m0 | ScaleNumbers::Logarithm => Dtype::U8,
        ScaleNumbers::Nibbles => Dtype::I32,
    }
}

fn code_dtype(grid: GridKind) -> Dtype {
    match grid {
        // safetensors has an F4, which ComfyUI's own parser of headers does not know.
        GridKind::E2m1 => Dtype::U8,
        GridKind::E4m3 => Dtype::F8E4M3,
        GridKind::E5m2 => Dtype::F8E5M2,
        GridKind::Int4 | GridKind::Int8 => Dtype::I8,
        GridKind::F16 => Dtype::F16,
        GridKind::Bf16 => Dtype::BF16,
    }
}

/// Returns the number that rows and columns become a multiple of when they are filled up with zeros:
/// the columns of a block whose scale is a byte.
fn padding_multiple(scheme: Scheme) -> usize {
    match scheme.tiling() {
        Tiling::Block { cols, .. } if scheme.has_block_scales() => cols,
        Tiling::Block { .. } | Tiling::Row | Tiling::Tensor => 1,
    }
}

/// Returns the bytes of the inverse of an F32 number.
fn inverse(bytes: &[u8]) -> Vec<u8> {
    let number = bytes.first_chunk().map_or(1.0, |bytes| f32::from_le_bytes(*bytes));
    (1.0 / number).to_le_bytes().to_vec()
}

/// Cuts a row-major matrix, or fills it up with zeros.
fn resized(codes: Vec<u8>, from: [usize; 2], to: [usize; 2], code_bytes: usize) -> Vec<u8> {
    if from == to {
        return codes;
    }
    let [from_row, to_row] = [from[1] * code_bytes, to[1] * code_bytes];
    let common = from_row.min(to_row);
    let mut resized = vec![0; to[0] * to_row];
    // Without columns there is nothing to copy, and chunks of 0 are not allowed.
    if common > 0 {
        for (to, from) in resized.chunks_mut(to_row).zip(codes.chunks(from_row)) {
            to[..common].copy_from_slice(&from[..common]);
        }
    }
    resized
}
