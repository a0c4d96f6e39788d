//! The formats that markers name: everything that depends on the program which reads a scheme.

use roundwise_scheme::{GridKind, Scheme, Tiling};

use crate::opener::Opener;

/// A way of storing a layer that ComfyUI, or a custom node of it, has a name for.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) grid: GridKind,
    pub(crate) scales: FormatScales,
    pub(crate) rotation: FormatRotation,
    pub(crate) opened_by: Opener,
}

/// Which scales a format has.
#[derive(Debug)]
pub(crate) enum FormatScales {
    /// One F32 number per tile.
    Tensor,
    Row,
    /// For the tensor or for each row, as the shape of the scale tells.
    TensorOrRow,
    /// For each square block. Loaders assume an edge where a marker names none.
    Square {
        assumed_edge: u64,
    },
    /// For each group of a row.
    Group {
        assumed_cols: u64,
    },
    /// Those of a scheme without variants.
    Only(Scheme),
    /// Those of rows, groups and levels.
    Levels,
}

/// Whether stored codes are those of the rotated weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormatRotation {
    Never,
    /// Where the marker says `convrot`.
    Optional,
    Always,
}

const fn unrotated(
    name: &'static str,
    grid: GridKind,
    scales: FormatScales,
    opened_by: Opener,
) -> Format {
    Format { name, grid, scales, rotation: FormatRotation::Never, opened_by }
}

const fn only(name: &'static str, scheme: Scheme, opened_by: Opener) -> Format {
    unrotated(name, scheme.grid(), FormatScales::Only(scheme), opened_by)
}

/// Every format. Where two hold a scheme, the first is written.
pub(crate) const FORMATS: &[Format] = &[
    // Versions are the first tags of ComfyUI that have the loader.
    unrotated("float8_e4m3fn", GridKind::E4m3, FormatScales::Tensor, Opener::FIRST_FORMAT),
    unrotated(
        "float8_e5m2",
        GridKind::E5m2,
        FormatScales::Tensor,
        Opener::stock("ComfyUI 0.8.0 or newer"),
    ),
    // Stock ComfyUI ends with a KeyError at these names; its kernels take one FP8 scale for a
    // tensor.
    unrotated("float8_e4m3fn_rowwise", GridKind::E4m3, FormatScales::Row, Opener::QUANT_OPS),
    unrotated(
        "float8_e4m3fn_blockwise",
        GridKind::E4m3,
        FormatScales::Square { assumed_edge: 64 },
        Opener::QUANT_OPS,
    ),
    unrotated(
        // Written by convert_to_quant, and read by no program.
        "float8_e4m3fn_block3d",
        GridKind::E4m3,
        FormatScales::Group { assumed_cols: 64 },
        Opener::NONE,
    ),
    Format {
        name: "int8_tensorwise",
        grid: GridKind::Int8,
        scales: FormatScales::TensorOrRow,
        rotation: FormatRotation::Optional,
        opened_by: Opener::stock("ComfyUI 0.27.0 or newer"),
    },
    unrotated(
        "int8_blockwise",
        GridKind::Int8,
        FormatScales::Square { assumed_edge: 128 },
        Opener::QUANT_OPS,
    ),
    Format {
        // Its codes are always rotated, so that the marker says how far and not whether.
        name: "convrot_w4a4",
        grid: GridKind::Int4,
        scales: FormatScales::Row,
        rotation: FormatRotation::Always,
        opened_by: Opener::stock("ComfyUI 0.28.0 or newer"),
    },
    only("mxfp8", Scheme::MXFP8, Opener::stock("ComfyUI 0.18.0 or newer")),
    only("hybrid_mxfp8", Scheme::HYBRID_MXFP8, Opener::QUANT_OPS_FORK),
    only("nvfp4", Scheme::NVFP4, Opener::stock("ComfyUI 0.8.0 or newer")),
    Format {
        name: "asym_w4a8_int8",
        grid: GridKind::Int8,
        scales: FormatScales::Levels,
        rotation: FormatRotation::Always,
        opened_by: Opener::stock("ComfyUI 0.31.0 or newer"),
    },
];

impl Format {
    /// Returns the format of a name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }

    /// Returns the format that holds a scheme, `None` where no program has a name for it.
    pub(crate) fn of(scheme: Scheme) -> Option<&'static Self> {
        // Files do not show how scales were chosen, so a power of two is stored as any F32 scale.
        let scheme = scheme.read_as();
        FORMATS.iter().find(|format| format.holds(scheme))
    }

    fn holds(&self, scheme: Scheme) -> bool {
        let tiling = scheme.tiling();
        let fits = match self.scales {
            FormatScales::Only(only) => return scheme == only,
            FormatScales::Levels => return scheme.has_levels(),
            FormatScales::Tensor => tiling == Tiling::Tensor,
            FormatScales::Row => tiling == Tiling::Row,
            FormatScales::TensorOrRow => matches!(tiling, Tiling::Tensor | Tiling::Row),
            FormatScales::Square { .. } => {
                matches!(tiling, Tiling::Block { rows, cols } if rows == cols)
            }
            FormatScales::Group { .. } => matches!(tiling, Tiling::Block { rows: 1, .. }),
        };
        // Compared as a whole: a scheme that stores its scales in another way does not fit a format for
        // F32 scales, even with the same tiling.
        let in_f32 = match (scheme.rotation(), self.rotation) {
            (None, FormatRotation::Never | FormatRotation::Optional) => {
                Scheme::scaled(self.grid, tiling)
            }
            (Some(rotation), FormatRotation::Optional | FormatRotation::Always) => {
                Scheme::rotated(self.grid, tiling, rotation)
            }
            (None, FormatRotation::Always) | (Some(_), FormatRotation::Never) => return false,
        };
        fits && scheme == in_f32
    }
}
