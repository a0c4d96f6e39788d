use std::ops::Range;

use blake3::{Hash, Hasher};

/// Which bytes of a tensor have been written, and their hash.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Disjoint, not touching, ascending, none empty.
    ranges: Vec<Range<u64>>,
    hash: RunningHash,
}

#[derive(Debug, Default)]
enum RunningHash {
    /// There is none: nothing was written, or parts came out of order.
    #[default]
    Unknown,
    /// Of the first bytes, with their number.
    Growing(Box<Hasher>, u64),
    /// Of the whole tensor.
    Known(Hash),
}

impl Written {
    /// Adds a range; parts that were there already count once.
    pub(super) fn add(&mut self, mut added: Range<u64>) {
        if added.is_empty() {
            return;
        }
        // Everything that overlaps or touches `added` melts into it.
        // By binary search: parts mostly come in order, and the list then has one entry.
        let first = self.ranges.partition_point(|range| range.end < added.start);
        let after = self.ranges.partition_point(|range| range.start <= added.end);
        if let Some(range) = self.ranges[first..after].first() {
            added.start = added.start.min(range.start);
        }
        if let Some(range) = self.ranges[first..after].last() {
            added.end = added.end.max(range.end);
        }
        self.ranges.splice(first..after, [added]);
    }

    /// Returns the number of bytes written.
    pub(super) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Adds a written range as [`Self::add`] does, and hashes the bytes where they follow those
    /// before.
    pub(super) fn add_hashed(&mut self, offset: u64, bytes: &[u8]) {
        let length = bytes.len() as u64;
        self.add(offset..offset + length);
        let mut hasher = match std::mem::take(&mut self.hash) {
            // A tensor that is written anew from its beginning is hashed anew.
            _ if offset == 0 => Box::default(),
            RunningHash::Growing(hasher, hashed) if hashed == offset => hasher,
            // Out of order: `TensorFileWriter::hash` then reads the tensor back.
            _ => return,
        };
        hasher.update(bytes);
        self.hash = RunningHash::Growing(hasher, offset + length);
    }

    /// Marks the tensor as complete.
    pub(super) fn is_whole(&mut self, length: u64, hash: Hash) {
        self.add(0..length);
        self.hash = RunningHash::Known(hash);
    }

    /// Returns the hash of all `length` bytes, where it is known.
    pub(super) fn hash(&mut self, length: u64) -> Option<Hash> {
        if let RunningHash::Growing(hasher, hashed) = &self.hash
            && *hashed == length
        {
            self.hash = RunningHash::Known(hasher.finalize());
        }
        match self.hash {
            RunningHash::Known(hash) => Some(hash),
            RunningHash::Unknown if length == 0 => Some(blake3::hash(&[])),
            RunningHash::Unknown | RunningHash::Growing(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hashes_what_comes_in_order(data in prop::collection::vec(any::<u8>(), 0..50), at in 0_usize..50) {
            let at = at.min(data.len());
            let mut written = Written::default();
            written.add_hashed(0, &data[..at]);
            written.add_hashed(at as u64, &data[at..]);
            prop_assert_eq!(written.hash(data.len() as u64), Some(blake3::hash(&data)));
            let mut backwards = Written::default();
            backwards.add_hashed(at as u64, &data[at..]);
            prop_assert!(at == 0 || backwards.hash(data.len() as u64).is_none());
        }

        #[test]
        fn counts_every_byte_once(parts in prop::collection::vec((0_u64..60, 0_u64..20), 0..20)) {
            let mut written = Written::default();
            let mut definition = [false; 80];
            for (start, length) in parts {
                written.add(start..start + length);
                definition[start as usize..(start + length) as usize].fill(true);
            }
            let expected = definition.iter().filter(|&&written| written).count() as u64;
            prop_assert_eq!(written.bytes(), expected);
            prop_assert!(written.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
