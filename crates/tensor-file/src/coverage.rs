use std::ops::Range;

/// Which bytes of a tensor have been written.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// Disjoint, not touching, ascending, none empty.
    ranges: Vec<Range<u64>>,
}

impl Coverage {
    /// Adds a range; parts that were there already count once.
    pub(crate) fn add(&mut self, mut added: Range<u64>) {
        if added.is_empty() {
            return;
        }
        // Everything that overlaps or touches `added` melts into it.
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

    /// Count of the bytes written.
    pub(crate) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Coverage;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_every_byte_once(parts in prop::collection::vec((0_u64..60, 0_u64..20), 0..20)) {
            let mut coverage = Coverage::default();
            let mut definition = [false; 80];
            for (start, length) in parts {
                coverage.add(start..start + length);
                definition[start as usize..(start + length) as usize].fill(true);
            }
            let expected = definition.iter().filter(|&&written| written).count() as u64;
            prop_assert_eq!(coverage.bytes(), expected);
            prop_assert!(coverage.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
