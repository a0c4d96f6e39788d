//! Blocks of GGUF: some weights of a row, stored together with what scales them.
//!
//! Every decoder is scalar and computes in F32 in the order of llama.cpp, so that its numbers have the
//! bits of the `gguf` package's.
//!
//! # Source
//! llama.cpp, `ggml/src/ggml-common.h` (the fields of each block), `ggml/src/ggml-quants.c`
//! (`dequantize_row_…`).

mod fields;
mod k;
mod mxfp4;
mod nonlinear;
mod uniform;

/// The way in which the weights of a block are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the names are those of the format")]
pub(crate) enum BlockType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    MXFP4,
}

/// Bytes of a weight once it is decoded, as F32.
pub(crate) const WEIGHT_BYTES: u64 = 4;

impl BlockType {
    /// Returns the format's own name, such as `Q4_K`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::IQ4_NL => "IQ4_NL",
            Self::IQ4_XS => "IQ4_XS",
            Self::MXFP4 => "MXFP4",
        }
    }

    /// Returns the number of weights of a block.
    pub(crate) fn weights(self) -> u64 {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::IQ4_NL | Self::MXFP4 => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K | Self::IQ4_XS => 256,
        }
    }

    /// Returns the bytes of a block.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::IQ4_NL => 18,
            Self::IQ4_XS => 136,
            Self::MXFP4 => 17,
        }
    }

    /// Returns the bytes of the blocks of a tensor that is `length` bytes of F32.
    pub(crate) fn stored_bytes(self, length: u64) -> u64 {
        // The length is one of whole blocks: the header's reader refuses rows that are none.
        length / WEIGHT_BYTES / self.weights() * self.bytes()
    }

    /// Appends the weights of whole blocks as little-endian F32.
    pub(crate) fn decode(self, blocks: &[u8], decoded: &mut Vec<u8>) {
        match self {
            Self::Q4_0 => each(blocks, decoded, |block| uniform::Q4_0::read(block).weights()),
            Self::Q4_1 => each(blocks, decoded, |block| uniform::Q4_1::read(block).weights()),
            Self::Q5_0 => each(blocks, decoded, |block| uniform::Q5_0::read(block).weights()),
            Self::Q5_1 => each(blocks, decoded, |block| uniform::Q5_1::read(block).weights()),
            Self::Q8_0 => each(blocks, decoded, |block| uniform::Q8_0::read(block).weights()),
            Self::Q2_K => each(blocks, decoded, |block| k::Q2_K::read(block).weights()),
            Self::Q3_K => each(blocks, decoded, |block| k::Q3_K::read(block).weights()),
            Self::Q4_K => each(blocks, decoded, |block| k::Q4_K::read(block).weights()),
            Self::Q5_K => each(blocks, decoded, |block| k::Q5_K::read(block).weights()),
            Self::Q6_K => each(blocks, decoded, |block| k::Q6_K::read(block).weights()),
            Self::IQ4_NL => each(blocks, decoded, |block| nonlinear::IQ4_NL::read(block).weights()),
            Self::IQ4_XS => each(blocks, decoded, |block| nonlinear::IQ4_XS::read(block).weights()),
            Self::MXFP4 => each(blocks, decoded, |block| mxfp4::MXFP4::read(block).weights()),
        }
    }
}

fn each<const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[u8],
    decoded: &mut Vec<u8>,
    weights: impl Fn(&[u8; BYTES]) -> [f32; WEIGHTS],
) {
    let (blocks, _) = blocks.as_chunks::<BYTES>();
    for block in blocks {
        decoded.extend(weights(block).into_iter().flat_map(f32::to_le_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [BlockType; 13] = [
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q8_0,
        BlockType::Q2_K,
        BlockType::Q3_K,
        BlockType::Q4_K,
        BlockType::Q5_K,
        BlockType::Q6_K,
        BlockType::IQ4_NL,
        BlockType::IQ4_XS,
        BlockType::MXFP4,
    ];

    #[test]
    fn sizes_are_those_that_the_decoders_take_and_give() {
        for block in ALL {
            let mut decoded = vec![];
            block.decode(&vec![0x5a; 3 * block.bytes() as usize], &mut decoded);
            assert_eq!(decoded.len() as u64, 3 * block.weights() * WEIGHT_BYTES, "{block:?}");
            assert_eq!(block.stored_bytes(decoded.len() as u64), 3 * block.bytes(), "{block:?}");
        }
    }
}
