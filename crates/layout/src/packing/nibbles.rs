use roundwise_grid::vectorized;

/// Which of two neighbouring codes lies in the high half of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nibbles {
    /// The code of the even column.
    EvenHigh,
    /// The code of the odd column.
    EvenLow,
}

impl Nibbles {
    /// Packs two codes into one byte, in place; `codes` are an even number below 16.
    pub(crate) fn pack(self, codes: &mut Vec<u8>) {
        match self {
            Nibbles::EvenHigh => pack(codes, |even, odd| even << 4 | odd),
            Nibbles::EvenLow => pack(codes, |even, odd| odd << 4 | even),
        }
    }

    /// Returns the codes of packed bytes, two for each.
    pub(crate) fn unpack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Nibbles::EvenHigh => unpack(bytes, |byte| [byte >> 4, byte & 0xF]),
            Nibbles::EvenLow => unpack(bytes, |byte| [byte & 0xF, byte >> 4]),
        }
    }
}

/// Bytes that are made before they take the place of codes: a whole vector.
const PART: usize = 64;

fn pack(codes: &mut Vec<u8>, pair: impl Fn(u8, u8) -> u8) {
    let bytes = codes.len() / 2;
    vectorized(
        #[inline(always)]
        || {
            let mut packed = [0; PART];
            for first in (0..bytes).step_by(PART) {
                let length = PART.min(bytes - first);
                // The codes of a part lie behind the place of its bytes, so that none is written over
                // before it is read.
                let (pairs, _) = codes[2 * first..2 * (first + length)].as_chunks::<2>();
                for (byte, [even, odd]) in packed.iter_mut().zip(pairs) {
                    *byte = pair(*even, *odd);
                }
                codes[first..first + length].copy_from_slice(&packed[..length]);
            }
        },
    );
    codes.truncate(bytes);
}

fn unpack(bytes: &[u8], codes_of: impl Fn(u8) -> [u8; 2]) -> Vec<u8> {
    let mut codes = vec![0; 2 * bytes.len()];
    vectorized(
        #[inline(always)]
        || {
            for (pair, byte) in codes.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                *pair = codes_of(*byte);
            }
        },
    );
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_comes_back() {
        let codes: Vec<u8> = (0..=255u8).flat_map(|pair| [pair / 16, pair % 16]).collect();
        for (order, second) in [(Nibbles::EvenHigh, 0x01), (Nibbles::EvenLow, 0x10)] {
            let mut packed = codes.clone();
            order.pack(&mut packed);
            assert_eq!((packed.len(), packed[1]), (256, second));
            assert_eq!(order.unpack(&packed), codes);
        }
    }
}
