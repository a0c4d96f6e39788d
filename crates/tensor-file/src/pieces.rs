use std::ops::Range;

/// Most bytes that are read at once where a whole tensor is not needed: large enough that calls cost
/// nothing, small enough for many threads to have one each.
pub const PIECE_BYTES: u64 = 4 << 20;

/// Cuts `0..bytes` into ranges of at most [`PIECE_BYTES`], in order; nothing for no bytes.
pub fn pieces(bytes: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = (0..bytes.div_ceil(PIECE_BYTES)).map(|number| number * PIECE_BYTES);
    starts.map(move |start| start..bytes.min(start.saturating_add(PIECE_BYTES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_byte_once() {
        for bytes in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let mut end = 0;
            for piece in pieces(bytes) {
                assert_eq!(piece.start, end);
                assert!(!piece.is_empty() && piece.end - piece.start <= PIECE_BYTES);
                end = piece.end;
            }
            assert_eq!(end, bytes);
        }
        assert_eq!(pieces(u64::MAX).next(), Some(0..PIECE_BYTES));
    }
}
