use roundwise_grid::GridKind;

use crate::rotation::Rotation;
use crate::scheme::Scheme;
use crate::storage::LogRange;
use crate::tiling::Tiling;

/// A scheme with a name of its own.
#[derive(Clone, Copy, Debug)]
pub struct CatalogEntry {
    /// Name on the command line.
    pub name: &'static str,
    /// The scheme that the name stands for.
    pub scheme: Scheme,
    /// When to choose it, in a few words.
    pub when: &'static str,
}

impl CatalogEntry {
    /// Returns the bits that one weight takes in a file, scales not counted.
    pub fn bits(&self) -> usize {
        self.scheme.code_bits()
    }

    /// Returns in one line what codes stand for and what is stored beside them.
    pub fn summary(&self) -> String {
        self.scheme.summary()
    }
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

const fn rotated_rows(grid: GridKind) -> Scheme {
    Scheme::rotated(grid, Tiling::Row, Rotation::DEFAULT)
}

/// Every named scheme. [`FAMILIES`](crate::FAMILIES) names those with blocks or rotations of other
/// sizes.
pub const CATALOG: &[CatalogEntry] = &[
    scaled("fp8", GridKind::E4m3, Tiling::Tensor, "the safe default"),
    scaled("fp8-e5m2", GridKind::E5m2, Tiling::Tensor, "old kernels that want E5M2; less precise"),
    scaled("fp8-row", GridKind::E4m3, Tiling::Row, "rows of very different size"),
    scaled("fp8-block-64", GridKind::E4m3, Tiling::square(64), "kernels for blocks of 64×64"),
    scaled("fp8-block-128", GridKind::E4m3, Tiling::square(128), "kernels for blocks of 128×128"),
    entry(
        "fp8-block-128-pow2",
        Scheme::scaled_by_powers(GridKind::E4m3, Tiling::square(128)),
        "the same for kernels that take scales as exponents (`ue8m0`)",
    ),
    scaled(
        // Named as convert_to_quant names its format; a block is a group of one row all the same.
        "fp8-block3d-64",
        GridKind::E4m3,
        Tiling::group(64),
        "one scale for 64 weights of a row, for programs of your own",
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
    scaled("int8-block-64", GridKind::Int8, Tiling::square(64), "kernels for blocks of 64×64"),
    scaled("int8-block-128", GridKind::Int8, Tiling::square(128), "kernels for blocks of 128×128"),
    scaled("int8-group-128", GridKind::Int8, Tiling::group(128), "servers' 8-bit weights (W8A16)"),
    entry("nvfp4", Scheme::NVFP4, "half the size of 8 bits; RTX 50 and other Blackwell cards"),
    entry("int4-convrot", rotated_rows(GridKind::Int4), "half the size of 8 bits; RTX 20 to 40"),
    entry("int4-asym", Scheme::INT4_LEVELS, "the same with 16 uneven levels; nearest codes only"),
    scaled("int4-row", GridKind::Int4, Tiling::Row, "the smallest 4-bit file for servers"),
    scaled("int4-group-32", GridKind::Int4, Tiling::group(32), "the most precise one (W4A16)"),
    scaled("int4-group-64", GridKind::Int4, Tiling::group(64), "between its neighbours"),
    scaled("int4-group-128", GridKind::Int4, Tiling::group(128), "servers' usual 4 bits (W4A16)"),
    entry(
        "int4-group-32-asym",
        Scheme::with_zero_points(32),
        "the same with a zero point per group, for weights that lie to one side of 0",
    ),
    entry("int4-group-64-asym", Scheme::with_zero_points(64), "between its neighbours"),
    entry("int4-group-128-asym", Scheme::with_zero_points(128), "servers' W4A16 with zero points"),
    entry("mxfp4", Scheme::MXFP4, "servers' 4-bit floats with a power of two per 32 weights"),
    entry("fp16", Scheme::unscaled(GridKind::F16), "half the size of F32, for any program"),
    entry("bf16", Scheme::unscaled(GridKind::Bf16), "the same with the range of F32"),
    scaled("fp16-scaled", GridKind::F16, Tiling::Tensor, "FP16 of weights below 0.0001"),
];
