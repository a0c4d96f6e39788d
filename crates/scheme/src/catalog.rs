use std::fmt;
use std::str::FromStr;

use roundwise_grid::GridKind;

use crate::{SchemeError, Tiling};

/// How a matrix becomes codes and scales. Written and parsed by its command-line name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// Values that a code can stand for.
    pub grid: GridKind,
    /// Weights that share a scale.
    pub tiling: Tiling,
}

/// A scheme with a name of its own.
#[derive(Clone, Copy, Debug)]
pub struct CatalogEntry {
    /// Name on the command line.
    pub name: &'static str,
    /// What the name stands for.
    pub scheme: Scheme,
    /// When to choose it, in a few words.
    pub when: &'static str,
}

const fn entry(
    name: &'static str,
    grid: GridKind,
    tiling: Tiling,
    when: &'static str,
) -> CatalogEntry {
    CatalogEntry { name, scheme: Scheme { grid, tiling }, when }
}

const fn square(size: usize) -> Tiling {
    Tiling::Block { rows: size, cols: size }
}

/// Every named scheme. Blocks of any other size `n` are written `fp8-block-n` and `int8-block-n`.
pub const CATALOG: &[CatalogEntry] = &[
    entry("fp8", GridKind::E4m3, Tiling::Tensor, "the safe default"),
    entry("fp8-e5m2", GridKind::E5m2, Tiling::Tensor, "old kernels that want E5M2; less precise"),
    entry("fp8-row", GridKind::E4m3, Tiling::Row, "rows of very different size"),
    entry("fp8-block-64", GridKind::E4m3, square(64), "servers with 64×64 block kernels"),
    entry("fp8-block-128", GridKind::E4m3, square(128), "servers with 128×128 block kernels"),
    entry("int8", GridKind::Int8, Tiling::Tensor, "matrices without outliers"),
    entry("int8-row", GridKind::Int8, Tiling::Row, "most precise 8-bit scheme; RTX 20 and 30"),
    entry("int8-block-64", GridKind::Int8, square(64), "64×64 block kernels"),
    entry("int8-block-128", GridKind::Int8, square(128), "128×128 block kernels"),
];

/// Prefixes of block schemes whose size is part of the name.
const BLOCK_FAMILIES: [(&str, GridKind); 2] =
    [("fp8-block-", GridKind::E4m3), ("int8-block-", GridKind::Int8)];

/// Largest block edge that a name may ask for.
const MAX_BLOCK: usize = 65_536;

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(name: &str) -> Result<Self, SchemeError> {
        if let Some(entry) = CATALOG.iter().find(|entry| entry.name == name) {
            return Ok(entry.scheme);
        }
        block_scheme(name).ok_or_else(|| SchemeError::UnknownScheme {
            name: name.to_owned(),
            known: known_names(),
        })
    }
}

/// Every name, and the form of names of blocks of any size.
fn known_names() -> String {
    let names = CATALOG.iter().map(|entry| entry.name.to_owned());
    let blocks = BLOCK_FAMILIES
        .iter()
        .map(|(prefix, _)| format!("{prefix}<N> with N from 1 to {MAX_BLOCK}"));
    names.chain(blocks).collect::<Vec<_>>().join(", ")
}

fn block_scheme(name: &str) -> Option<Scheme> {
    let (size, grid) = BLOCK_FAMILIES
        .iter()
        .find_map(|(prefix, grid)| name.strip_prefix(prefix).map(|size| (size, *grid)))?;
    let size: usize = size.parse().ok()?;
    (1..=MAX_BLOCK).contains(&size).then_some(Scheme { grid, tiling: square(size) })
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = CATALOG.iter().find(|entry| entry.scheme == *self) {
            return f.pad(entry.name);
        }
        // Only blocks of a size that has no name of its own get here, or grids read from a file.
        match self.tiling {
            Tiling::Block { rows, cols } if rows == cols => {
                let family = BLOCK_FAMILIES.iter().find(|(_, grid)| *grid == self.grid);
                match family {
                    Some((prefix, _)) => f.pad(&format!("{prefix}{rows}")),
                    None => f.pad(&format!("{}-block-{rows}", self.grid.name())),
                }
            }
            Tiling::Block { rows, cols } => {
                f.pad(&format!("{}-block-{rows}x{cols}", self.grid.name()))
            }
            Tiling::Row => f.pad(&format!("{}-row", self.grid.name())),
            Tiling::Tensor => f.pad(self.grid.name()),
        }
    }
}

impl Scheme {
    /// Bits that one weight takes, scales not counted.
    pub fn code_bits(self) -> usize {
        self.grid.code_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_itself() {
        for entry in CATALOG {
            assert_eq!(entry.name.parse::<Scheme>().unwrap(), entry.scheme);
            assert_eq!(entry.scheme.to_string(), entry.name);
        }
        assert_eq!("fp8-block-32".parse::<Scheme>().unwrap().to_string(), "fp8-block-32");
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        for name in ["fp9", "fp8-block-0", "fp8-block-x", "int8-block-99999999", ""] {
            let message = name.parse::<Scheme>().unwrap_err().to_string();
            assert!(message.contains("int8-block-128"), "{message}");
        }
    }
}
