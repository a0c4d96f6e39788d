use roundwise_grid::vectorized;

/// Which of two neighbouring codes lies in the high half of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nibbles {
    /// That of the even column.
    EvenHigh,
    /// That of the odd column.
    EvenLow,
}

impl Nibbles {
    /// Packs two codes into one byte, in place; `codes` are an even number below 16.
    pub(crate) fn pack(self, codes: &mut Vec<u8>) {
        let bytes = codes.len() / 2;
        let shift = self.even_shift();
        vectorized(|| {
            for at in 0..bytes {
                let (even, odd) = (codes[2 * at], codes[2 * at + 1]);
                codes[at] = even << shift | odd << (4 - shift);
            }
        });
        codes.truncate(bytes);
    }

    /// The codes of packed bytes, two for each.
    pub(crate) fn unpack(self, bytes: &[u8]) -> Vec<u8> {
        let shift = self.even_shift();
        let mut codes = vec![0; 2 * bytes.len()];
        vectorized(|| {
            for (pair, byte) in codes.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                *pair = [byte >> shift & 0xF, byte >> (4 - shift) & 0xF];
            }
        });
        codes
    }

    fn even_shift(self) -> u32 {
        match self {
            Nibbles::EvenHigh => 4,
            Nibbles::EvenLow => 0,
        }
    }
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
