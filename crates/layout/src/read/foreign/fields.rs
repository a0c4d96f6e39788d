//! Codes of a few bits in words of 32, one behind the other from the lowest bit on, some across two words.

/// Returns the field of this index, as `bits` bits of a row of words.
///
/// - `word`: gives a word of the row; the one behind the last is asked for only where a field crosses
#[inline(always)]
pub(crate) fn field(word: impl Fn(usize) -> u32, index: usize, bits: usize) -> u32 {
    let (at, shift) = (index * bits / 32, index * bits % 32);
    let low = u64::from(word(at));
    let high = if shift + bits > 32 { u64::from(word(at + 1)) } else { 0 };
    // Of 64 bits, so that a field across two words needs no case of its own.
    ((low | high << 32) >> shift) as u32 & mask(bits)
}

/// Returns as many ones as a field has bits.
pub(crate) fn mask(bits: usize) -> u32 {
    (1_u64 << bits).wrapping_sub(1) as u32
}

/// Returns how many bits each of `count` fields has that fill so many words, where that is certain.
pub(crate) fn bits_of(words: u64, count: u64, possible: &[u64]) -> Option<u64> {
    let fits = |bits: &&u64| {
        let all = count.checked_mul(**bits);
        all.is_some_and(|all| all.div_ceil(32) == words)
    };
    let mut fitting = possible.iter().filter(fits);
    let bits = *fitting.next()?;
    fitting.next().is_none().then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_one_another_from_the_lowest_bit_across_words() {
        for bits in 1..=8_usize {
            let codes: Vec<u32> = (0..64).map(|at| (at as u32 * 37 + 11) & mask(bits)).collect();
            let mut words = vec![0_u32; 64 * bits / 32];
            for (at, code) in codes.iter().enumerate() {
                for bit in 0..bits {
                    let place = at * bits + bit;
                    words[place / 32] |= (code >> bit & 1) << (place % 32);
                }
            }
            let found: Vec<u32> = (0..64).map(|at| field(|word| words[word], at, bits)).collect();
            assert_eq!(found, codes, "{bits} bits");
        }
    }

    #[test]
    fn bits_are_told_only_where_one_number_of_them_fits() {
        assert_eq!(bits_of(8, 64, &[2, 3, 4, 8]), Some(4));
        assert_eq!(bits_of(6, 64, &[2, 3, 4, 8]), Some(3));
        assert_eq!(bits_of(7, 64, &[2, 3, 4, 8]), None);
        assert_eq!(bits_of(1, 4, &[2, 3, 4, 8]), None);
        assert_eq!(bits_of(1, u64::MAX, &[2, 4]), None);
    }
}
