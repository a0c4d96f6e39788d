use roundwise_scheme::{GridKind, Scheme, Tiling};

/// Size rules of the published converters. They are about speed on small matrices, never about
/// correctness: a block that does not divide a matrix is refused whatever the heuristic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heuristic {
    /// Skip what a block does not divide, or what is smaller than a block.
    Basic,
    /// [`Heuristic::Basic`], and long thin or small matrices as well.
    Classic,
}

/// Block edges of the published converters where none is named. They test schemes per tensor and per row with
/// these, too.
pub(crate) const FP8_BLOCK: u64 = 64;
pub(crate) const INT8_BLOCK: u64 = 128;

impl Heuristic {
    /// Every heuristic by its name.
    pub const NAMES: [(&str, Self); 2] = [("basic", Self::Basic), ("classic", Self::Classic)];

    /// Returns why a `[rows, cols]` weight is to be skipped, if it is.
    ///
    /// With `b` the block edge (64 for FP8, 128 for INT8 where the scheme has no blocks):
    /// - both: a side below `b`, or not a multiple of `b`;
    /// - classic: `max / min > 4` and `min < 5120`; fewer than 15 million elements and
    ///   `max / min < 2`; `max < 4096`.
    pub fn skips(self, scheme: Scheme, [rows, cols]: [u64; 2]) -> Option<String> {
        let block = match (scheme.tiling(), scheme.grid()) {
            (Tiling::Block { cols, .. }, _) => cols as u64,
            (Tiling::Tensor | Tiling::Row, GridKind::Int8 | GridKind::Int4) => INT8_BLOCK,
            (Tiling::Tensor | Tiling::Row, _) => FP8_BLOCK,
        };
        if rows < block || cols < block {
            return Some(format!("a side is below {block}"));
        }
        if !rows.is_multiple_of(block) || !cols.is_multiple_of(block) {
            return Some(format!("a side is not a multiple of {block}"));
        }
        match self {
            Heuristic::Basic => None,
            Heuristic::Classic => classic(rows.max(cols), rows.min(cols)),
        }
    }
}

fn classic(longer: u64, shorter: u64) -> Option<String> {
    // The rules of convert_to_quant's first versions, with their numbers; its present ones are
    // those of `Basic`.
    if longer > 4 * shorter && shorter < 5120 {
        return Some("long and thin: sides differ more than 4 times".to_owned());
    }
    if longer * shorter < 15_000_000 && longer < 2 * shorter {
        return Some("nearly square with under 15 million elements".to_owned());
    }
    (longer < 4096).then(|| "longer side is below 4096".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_size_rules() {
        let fp8: Scheme = "fp8".parse().unwrap();
        let int8: Scheme = "int8".parse().unwrap();
        let skips = |heuristic: Heuristic, scheme, shape| heuristic.skips(scheme, shape).is_some();
        assert!(!skips(Heuristic::Basic, fp8, [3072, 3072]));
        assert!(skips(Heuristic::Basic, fp8, [3072, 100]));
        assert!(skips(Heuristic::Basic, fp8, [32, 3072]));
        assert!(!skips(Heuristic::Basic, fp8, [192, 192]));
        assert!(skips(Heuristic::Basic, int8, [192, 192]));
        assert!(skips(Heuristic::Classic, fp8, [3072, 3072]));
        assert!(!skips(Heuristic::Classic, fp8, [12288, 3072]));
        assert!(skips(Heuristic::Classic, fp8, [20480, 4096]));
        assert!(skips(Heuristic::Classic, fp8, [3840, 1280]));
    }
}
