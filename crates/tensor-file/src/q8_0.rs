//! GGUF's 8-bit blocks: an F16 scale and 32 signed bytes, `weight = scale · code`, which F32 holds
//! exactly.

use half::f16;

/// Elements of a block.
pub(crate) const BLOCK: u64 = 32;

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: u64 = 2 + BLOCK;

/// Bytes of an element once it is decoded.
pub(crate) const ELEMENT_BYTES: u64 = 4;

/// Bytes of a tensor that are stored for so many bytes of F32.
pub(crate) fn stored_bytes(length: u64) -> u64 {
    length / ELEMENT_BYTES / BLOCK * BLOCK_BYTES
}

/// Appends the F32 numbers of whole blocks.
pub(crate) fn decode(blocks: &[u8], numbers: &mut Vec<u8>) {
    let (blocks, _) = blocks.as_chunks::<{ BLOCK_BYTES as usize }>();
    for [low, high, codes @ ..] in blocks {
        let scale = f16::from_le_bytes([*low, *high]).to_f32();
        let decoded = codes.iter().map(|&code| scale * f32::from(code as i8));
        numbers.extend(decoded.flat_map(f32::to_le_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_scale_times_code() {
        let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend((0..32).map(|code| (code - 16) as u8));
        let mut numbers = vec![];
        decode(&block, &mut numbers);
        let expected = (0..32).map(|code| 0.5 * (code - 16) as f32);
        assert_eq!(numbers, expected.flat_map(f32::to_le_bytes).collect::<Vec<_>>());
        assert_eq!(stored_bytes(numbers.len() as u64), BLOCK_BYTES);
    }
}
