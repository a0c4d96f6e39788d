use std::fmt;
use std::str::FromStr;

use roundwise_grid::GridKind;

use crate::{LogRange, Rotation, ScaleStorage, Scheme, SchemeError, Tiling};

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

const fn entry(name: &'static str, scheme: Scheme, when: &'static str) -> CatalogEntry {
    CatalogEntry { name, scheme, when }
}

const fn scaled(
    name: &'static str,
    grid: GridKind,
    tiling: Tiling,
    when: &'static str,
) -> CatalogEntry {
    entry(name, Scheme::scaled(grid, tiling), when)
}

const fn square(size: usize) -> Tiling {
    Tiling::Block { rows: size, cols: size }
}

const fn groups(size: usize) -> Tiling {
    Tiling::Block { rows: 1, cols: size }
}

const fn rotated_rows(grid: GridKind) -> Scheme {
    Scheme::rotated(grid, Tiling::Row, Rotation::DEFAULT)
}

/// Every named scheme. Blocks of any other size `n` are written `fp8-block-n`, `fp8-block3d-n` and
/// `int8-block-n`, rotations of smaller groups `int8-row-convrot-n`, `int4-convrot-n` and
/// `int4-asym-n`.
pub const CATALOG: &[CatalogEntry] = &[
    scaled("fp8", GridKind::E4m3, Tiling::Tensor, "the safe default"),
    scaled("fp8-e5m2", GridKind::E5m2, Tiling::Tensor, "old kernels that want E5M2; less precise"),
    scaled("fp8-row", GridKind::E4m3, Tiling::Row, "rows of very different size"),
    scaled("fp8-block-64", GridKind::E4m3, square(64), "servers with 64×64 block kernels"),
    scaled("fp8-block-128", GridKind::E4m3, square(128), "servers with 128×128 block kernels"),
    scaled(
        "fp8-block3d-64",
        GridKind::E4m3,
        groups(64),
        "64 weights of a row; no program reads it",
    ),
    entry(
        "fp8-log-scales",
        Scheme::logarithmic(LogRange::Wide, false),
        "scales of one byte, for programs of your own",
    ),
    entry(
        "fp8-log-scales-narrow",
        Scheme::logarithmic(LogRange::Narrow, false),
        "the same in the range that was published first",
    ),
    entry(
        "fp8-log-scales-shared",
        Scheme::logarithmic(LogRange::Wide, true),
        "the same, one scale for the layers of a module",
    ),
    entry("mxfp8", Scheme::MXFP8, "RTX 50 and other Blackwell cards; columns of different size"),
    entry("hybrid-mxfp8", Scheme::HYBRID_MXFP8, "MXFP8 that cards without MX read as FP8"),
    scaled("int8", GridKind::Int8, Tiling::Tensor, "matrices without outliers"),
    scaled("int8-row", GridKind::Int8, Tiling::Row, "most precise 8-bit scheme; RTX 20 and 30"),
    entry("int8-row-convrot", rotated_rows(GridKind::Int8), "the same for rows with outliers"),
    scaled("int8-block-64", GridKind::Int8, square(64), "64×64 block kernels"),
    scaled("int8-block-128", GridKind::Int8, square(128), "128×128 block kernels"),
    entry("nvfp4", Scheme::NVFP4, "half the size of 8 bits; RTX 50 and other Blackwell cards"),
    entry("int4-convrot", rotated_rows(GridKind::Int4), "half the size of 8 bits; RTX 20 to 40"),
    entry("int4-asym", Scheme::INT4_LEVELS, "the same with 16 uneven levels; nearest codes only"),
    entry("fp16", Scheme::unscaled(GridKind::F16), "half the size of F32, for any program"),
    entry("bf16", Scheme::unscaled(GridKind::Bf16), "the same with the range of F32"),
    scaled("fp16-scaled", GridKind::F16, Tiling::Tensor, "FP16 of weights below 0.0001"),
];

/// Prefixes of block schemes whose size is part of the name.
const BLOCK_FAMILIES: [(&str, GridKind); 2] =
    [("fp8-block-", GridKind::E4m3), ("int8-block-", GridKind::Int8)];

/// Prefixes of schemes with blocks of a single row.
const GROUP_FAMILIES: [(&str, GridKind); 1] = [("fp8-block3d-", GridKind::E4m3)];

/// Prefix of rotated schemes of levels.
const LEVELED_FAMILY: &str = "int4-asym-";

/// Prefixes of rotated schemes whose largest group is part of the name.
const ROTATED_FAMILIES: [(&str, GridKind); 2] =
    [("int8-row-convrot-", GridKind::Int8), ("int4-convrot-", GridKind::Int4)];

/// Largest block edge that a name may ask for.
const MAX_BLOCK: usize = 65_536;

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(name: &str) -> Result<Self, SchemeError> {
        if let Some(entry) = CATALOG.iter().find(|entry| entry.name == name) {
            return Ok(entry.scheme);
        }
        block_scheme(name).or_else(|| rotated_scheme(name)).ok_or_else(|| {
            SchemeError::UnknownScheme { name: name.to_owned(), known: known_names() }
        })
    }
}

/// Every name, and the form of names of blocks and groups of any size.
fn known_names() -> String {
    let names = CATALOG.iter().map(|entry| entry.name.to_owned());
    let blocks = BLOCK_FAMILIES
        .iter()
        .chain(&GROUP_FAMILIES)
        .map(|(prefix, _)| format!("{prefix}<N> with N from 1 to {MAX_BLOCK}"));
    let groups = ROTATED_FAMILIES
        .iter()
        .map(|(prefix, _)| *prefix)
        .chain([LEVELED_FAMILY])
        .map(|prefix| format!("{prefix}<N> with N a power of 4 up to {MAX_BLOCK}"));
    names.chain(blocks).chain(groups).collect::<Vec<_>>().join(", ")
}

/// The grid of a family and the number behind its prefix.
fn of_family(name: &str, families: &[(&str, GridKind)]) -> Option<(GridKind, usize)> {
    let (number, grid) = families
        .iter()
        .find_map(|(prefix, grid)| name.strip_prefix(prefix).map(|number| (number, *grid)))?;
    let number = number.parse().ok()?;
    (1..=MAX_BLOCK).contains(&number).then_some((grid, number))
}

fn block_scheme(name: &str) -> Option<Scheme> {
    let blocks = of_family(name, &BLOCK_FAMILIES).map(|(grid, size)| (grid, square(size)));
    // A block of one weight is square as well.
    let groups_of = of_family(name, &GROUP_FAMILIES).filter(|(_, size)| *size > 1);
    let tiled = blocks.or_else(|| groups_of.map(|(grid, size)| (grid, groups(size))));
    tiled.map(|(grid, tiling)| Scheme::scaled(grid, tiling))
}

fn rotated_scheme(name: &str) -> Option<Scheme> {
    if let Some((_, most)) = of_family(name, &[(LEVELED_FAMILY, GridKind::Int8)]) {
        return Rotation::up_to(most).map(Scheme::leveled);
    }
    let (grid, most) = of_family(name, &ROTATED_FAMILIES)?;
    Some(Scheme::rotated(grid, Tiling::Row, Rotation::up_to(most)?))
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CATALOG.iter().find(|entry| entry.scheme == *self) {
            Some(entry) => f.pad(entry.name),
            None => f.pad(&self.composed_name()),
        }
    }
}

impl Scheme {
    /// A name made of the parts: for blocks and groups of a size that has no name of its own, and
    /// for what only files of other programs hold.
    fn composed_name(self) -> String {
        let grid = self.grid();
        let family = |families: &[(&str, GridKind)], ending: &str| {
            let family = families.iter().find(|(_, of)| *of == grid);
            family.map_or_else(|| format!("{}-{ending}", grid.name()), |it| it.0.to_owned())
        };
        let tiled = match self.tiling() {
            Tiling::Block { rows, cols } if rows == cols => {
                format!("{}{rows}", family(&BLOCK_FAMILIES, "block-"))
            }
            Tiling::Block { rows: 1, cols } if grid == GridKind::E4m3 => {
                format!("{}{cols}", GROUP_FAMILIES[0].0)
            }
            Tiling::Block { rows, cols } => format!("{}-block-{rows}x{cols}", grid.name()),
            Tiling::Row => format!("{}-row", grid.name()),
            Tiling::Tensor => grid.name().to_owned(),
        };
        let scaled = match self.scale_storage() {
            ScaleStorage::F32(_) => tiled,
            ScaleStorage::PowerOfTwo => format!("mx-{}", grid.name()),
            ScaleStorage::PowerOfTwoAndLargest => format!("hybrid-mx-{}", grid.name()),
            ScaleStorage::Logarithmic { range: LogRange::Wide, .. } => "fp8-log-scales".to_owned(),
            ScaleStorage::Logarithmic { range: LogRange::Narrow, is_shared } => {
                format!("fp8-log-scales-narrow{}", if is_shared { "-shared" } else { "" })
            }
            ScaleStorage::Leveled => {
                let most = self.rotation().map_or(0, Rotation::most);
                return format!("{LEVELED_FAMILY}{most}");
            }
            ScaleStorage::TwoLevel => format!("nv-{}", grid.name()),
            ScaleStorage::Unscaled => format!("{}-unscaled", grid.name()),
        };
        match (self.rotation(), self.tiling()) {
            (None, _) => scaled,
            (Some(rotation), Tiling::Row) => {
                format!("{}{}", family(&ROTATED_FAMILIES, "row-convrot-"), rotation.most())
            }
            (Some(rotation), Tiling::Tensor | Tiling::Block { .. }) => {
                format!("{scaled}-convrot-{}", rotation.most())
            }
        }
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
        for name in [
            "fp8-block-32",
            "int8-block-7",
            "int8-row-convrot-16",
            "int4-convrot-64",
            "int4-asym-16",
            "fp8-block3d-32",
        ] {
            assert_eq!(name.parse::<Scheme>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        for name in
            ["fp9", "fp8-block-0", "fp8-block-x", "int8-block-99999999", "int4-convrot-8", ""]
        {
            let message = name.parse::<Scheme>().unwrap_err().to_string();
            assert!(message.contains("int8-block-128"), "{message}");
        }
    }
}
