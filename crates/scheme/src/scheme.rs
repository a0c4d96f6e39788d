use roundwise_grid::GridKind;

use crate::{LEVEL_GROUP, LogRange, Rotation, ScaleRule, SchemeError, Tiling};

/// How a matrix becomes codes and scales. Written and parsed by its command-line name.
///
/// Its parts are private, so that there are no schemes that nothing can store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    grid: GridKind,
    storage: ScaleStorage,
    rotation: Option<Rotation>,
}

/// How the scales of a matrix are stored, and so which tilings and scales there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleStorage {
    /// One F32 per tile.
    F32(Tiling),
    /// One power of two, an E8M0 byte, per 32 weights of a row.
    PowerOfTwo,
    /// The same, and the largest of them as one F32 for readers that know no scales of blocks.
    PowerOfTwoAndLargest,
    /// One E4M3 number per 16 weights of a row, times one F32 number for all.
    TwoLevel,
    /// One byte for the tensor, the logarithm of its scale.
    Logarithmic {
        /// Scales that the byte can stand for.
        range: LogRange,
        /// Whether layers of one module have the same byte.
        is_shared: bool,
    },
    /// One F32 per row, for 8-bit codes that are stored as 4-bit ones: each stands for a level out of
    /// 16, which follow from a table for the tensor and an E4M3 number per 16 weights of a row. See
    /// [`Levels`](crate::Levels).
    Leveled,
    /// None: the codes are the weights.
    Unscaled,
}

impl ScaleStorage {
    /// Which weights share a scale.
    pub const fn tiling(self) -> Tiling {
        match self {
            ScaleStorage::F32(tiling) => tiling,
            ScaleStorage::PowerOfTwo | ScaleStorage::PowerOfTwoAndLargest => {
                Tiling::Block { rows: 1, cols: 32 }
            }
            ScaleStorage::TwoLevel => Tiling::Block { rows: 1, cols: 16 },
            ScaleStorage::Leveled => Tiling::Row,
            ScaleStorage::Logarithmic { .. } | ScaleStorage::Unscaled => Tiling::Tensor,
        }
    }

    /// Whether it is a byte for every few weights of a row: such weights are filled up with zeros.
    pub const fn is_of_blocks(self) -> bool {
        match self {
            ScaleStorage::PowerOfTwo
            | ScaleStorage::PowerOfTwoAndLargest
            | ScaleStorage::TwoLevel => true,
            ScaleStorage::F32(_)
            | ScaleStorage::Logarithmic { .. }
            | ScaleStorage::Leveled
            | ScaleStorage::Unscaled => false,
        }
    }
}

impl Scheme {
    /// MXFP8: E4M3 codes, one power of two per 32 weights of a row.
    ///
    /// # Source
    /// OCP microscaling specification, revision 1.0.
    pub const MXFP8: Scheme =
        Scheme { grid: GridKind::E4m3, storage: ScaleStorage::PowerOfTwo, rotation: None };

    /// NVFP4: E2M1 codes, one E4M3 scale per 16 weights of a row, one F32 scale for all.
    pub const NVFP4: Scheme =
        Scheme { grid: GridKind::E2m1, storage: ScaleStorage::TwoLevel, rotation: None };

    /// [`Scheme::MXFP8`], and the largest scale beside the others.
    pub const HYBRID_MXFP8: Scheme = Scheme {
        grid: GridKind::E4m3,
        storage: ScaleStorage::PowerOfTwoAndLargest,
        rotation: None,
    };

    /// 4-bit codes for levels of INT8 rows, rotated.
    ///
    /// # Source
    /// `asym_w4a8_int8` of comfy-kitchen.
    pub const INT4_LEVELS: Scheme = Scheme::leveled(Rotation::DEFAULT);

    /// One F32 scale per tile.
    pub const fn scaled(grid: GridKind, tiling: Tiling) -> Self {
        Self { grid, storage: ScaleStorage::F32(tiling), rotation: None }
    }

    /// Codes of the rotated weight, with one F32 scale per tile.
    pub const fn rotated(grid: GridKind, tiling: Tiling, rotation: Rotation) -> Self {
        Self { grid, storage: ScaleStorage::F32(tiling), rotation: Some(rotation) }
    }

    /// E4M3 codes with the logarithm of one scale.
    pub const fn logarithmic(range: LogRange, is_shared: bool) -> Self {
        let storage = ScaleStorage::Logarithmic { range, is_shared };
        Self { grid: GridKind::E4m3, storage, rotation: None }
    }

    /// [`Scheme::INT4_LEVELS`] with groups of another size.
    pub const fn leveled(rotation: Rotation) -> Self {
        Self { grid: GridKind::Int8, storage: ScaleStorage::Leveled, rotation: Some(rotation) }
    }

    /// The codes are the weights; there are no scales.
    pub const fn unscaled(grid: GridKind) -> Self {
        Self { grid, storage: ScaleStorage::Unscaled, rotation: None }
    }

    /// Values that a code can stand for.
    pub const fn grid(self) -> GridKind {
        self.grid
    }

    /// Weights that share a scale.
    pub const fn tiling(self) -> Tiling {
        self.storage.tiling()
    }

    /// How scales are stored.
    pub const fn scale_storage(self) -> ScaleStorage {
        self.storage
    }

    /// How columns are rotated before they become codes, if they are.
    pub const fn rotation(self) -> Option<Rotation> {
        self.rotation
    }

    /// Columns that one rotation of a matrix with so many columns spans; 0 for none.
    pub(crate) fn rotation_group(self, cols: usize) -> usize {
        self.rotation.and_then(|rotation| rotation.group(cols)).unwrap_or(0)
    }

    /// Whether both store matrices of so many columns in the same way: they may differ in the largest
    /// rotation that they would take.
    pub fn is_same_for(self, other: Self, cols: usize) -> bool {
        let unrotated = |scheme: Self| Self { rotation: None, ..scheme };
        unrotated(self) == unrotated(other)
            && self.rotation_group(cols) == other.rotation_group(cols)
    }

    /// Bits that one weight takes in a file, scales not counted.
    pub const fn code_bits(self) -> usize {
        match self.storage {
            ScaleStorage::Leveled => 4,
            _ => self.grid.code_bits(),
        }
    }

    /// Whether layers of one module have the same scale, which none of them can choose alone.
    pub const fn shares_scales(self) -> bool {
        matches!(self.storage, ScaleStorage::Logarithmic { is_shared: true, .. })
    }

    /// Whether any value of the grid can be stored for any weight, so that codes may be searched.
    pub const fn has_free_codes(self) -> bool {
        !matches!(self.storage, ScaleStorage::Leveled)
    }

    /// Whether [`QuantizedMatrix::nearest_band`](crate::QuantizedMatrix::nearest_band) gives what the
    /// whole weight would: everything but a search for the one scale of a tensor, and schemes that
    /// store something of the whole.
    pub fn is_by_band(self, rule: ScaleRule) -> bool {
        let is_searched = rule == ScaleRule::Mse && self.storage != ScaleStorage::Unscaled;
        let is_of_the_whole = matches!(
            self.storage,
            ScaleStorage::Leveled
                | ScaleStorage::PowerOfTwoAndLargest
                | ScaleStorage::Logarithmic { is_shared: true, .. }
        );
        !(is_of_the_whole || is_searched && self.tiling() == Tiling::Tensor)
    }

    /// Whether the scheme can hold a `[rows, cols]` matrix.
    ///
    /// # Errors
    /// [`SchemeError::Ragged`] names the dimension that no whole number of blocks fills, where the
    /// last one cannot be padded; [`SchemeError::Unrotatable`] when no rotation fits the columns.
    pub fn covers(self, rows: usize, cols: usize) -> Result<(), SchemeError> {
        if let ScaleStorage::F32(tiling) = self.storage {
            tiling.covers(rows, cols)?;
        }
        if self.storage == ScaleStorage::Leveled {
            Tiling::Block { rows: 1, cols: LEVEL_GROUP }.covers(rows, cols)?;
        }
        match self.rotation {
            Some(rotation) if rotation.group(cols).is_none() => {
                Err(SchemeError::Unrotatable { cols })
            }
            _ => Ok(()),
        }
    }
}
