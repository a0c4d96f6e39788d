use roundwise_grid::GridKind;

use crate::error::SchemeError;
use crate::rotation::Rotation;
use crate::scales::ScaleRule;
use crate::storage::{
    F32, F32PowerOfTwo, Leveled, LogRange, Logarithmic, PowerOfTwo, ROWS_IN_WORD, ScalePart,
    ScaleStorage, Storage, TwoLevel, Unscaled, ZeroPoints,
};
use crate::tiling::Tiling;

/// How a matrix becomes codes and scales. Written and parsed by its command-line name.
///
/// Its parts are private, so that every scheme is one that files can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    grid: GridKind,
    storage: ScaleStorage,
    rotation: Option<Rotation>,
}

impl Scheme {
    /// E4M3 codes with one F32 scale, which most programs mean by FP8.
    pub const FP8: Scheme = Scheme::scaled(GridKind::E4m3, Tiling::Tensor);

    /// MXFP8: E4M3 codes, one power of two per 32 weights of a row.
    ///
    /// # Source
    /// OCP microscaling specification, revision 1.0.
    pub const MXFP8: Scheme = Scheme::microscaled(GridKind::E4m3, false);

    /// MXFP4: E2M1 codes, one power of two per 32 weights of a row.
    ///
    /// # Source
    /// OCP microscaling specification, revision 1.0.
    pub const MXFP4: Scheme = Scheme::microscaled(GridKind::E2m1, false);

    /// NVFP4: E2M1 codes, one E4M3 scale per 16 weights of a row, one F32 scale for all.
    pub const NVFP4: Scheme = Scheme::unrotated(
        GridKind::E2m1,
        ScaleStorage::TwoLevel(TwoLevel { has_power_of_two: false }),
    );

    /// [`Scheme::MXFP8`], and the largest scale beside the others.
    pub const HYBRID_MXFP8: Scheme = Scheme::microscaled(GridKind::E4m3, true);

    /// 4-bit codes for levels of INT8 rows, rotated.
    ///
    /// # Source
    /// `asym_w4a8_int8` of comfy-kitchen.
    pub const INT4_LEVELS: Scheme = Scheme::leveled(Rotation::DEFAULT);

    const fn unrotated(grid: GridKind, storage: ScaleStorage) -> Self {
        Self { grid, storage, rotation: None }
    }

    const fn microscaled(grid: GridKind, repeats_largest: bool) -> Self {
        let storage = PowerOfTwo { repeats_largest };
        Self::unrotated(grid, ScaleStorage::PowerOfTwo(storage))
    }

    /// Stores one F32 scale per tile.
    pub const fn scaled(grid: GridKind, tiling: Tiling) -> Self {
        Self::unrotated(grid, ScaleStorage::F32(F32 { tiling }))
    }

    /// Stores one F32 scale per tile that is a power of two.
    ///
    /// In files it looks like [`Scheme::scaled`].
    pub const fn scaled_by_powers(grid: GridKind, tiling: Tiling) -> Self {
        Self::unrotated(grid, ScaleStorage::F32PowerOfTwo(F32PowerOfTwo { tiling }))
    }

    /// Stores codes of the rotated weight, with one F32 scale per tile.
    pub const fn rotated(grid: GridKind, tiling: Tiling, rotation: Rotation) -> Self {
        Self { rotation: Some(rotation), ..Self::scaled(grid, tiling) }
    }

    /// Stores E4M3 codes with the logarithm of one scale.
    pub const fn logarithmic(range: LogRange, is_shared: bool) -> Self {
        let storage = Logarithmic { range, is_shared };
        Self::unrotated(GridKind::E4m3, ScaleStorage::Logarithmic(storage))
    }

    /// Stores [`Scheme::INT4_LEVELS`] with rotated groups of another size.
    pub const fn leveled(rotation: Rotation) -> Self {
        let storage = ScaleStorage::Leveled(Leveled);
        Self { grid: GridKind::Int8, storage, rotation: Some(rotation) }
    }

    /// Stores whole numbers of 4 bits, with one F32 scale and a zero point per `group` weights of a
    /// row.
    pub const fn with_zero_points(group: usize) -> Self {
        let storage = ZeroPoints { group, is_bf16: false };
        Self::unrotated(GridKind::Int8, ScaleStorage::ZeroPoints(storage))
    }

    /// Stores codes that are the weights, without scales.
    pub const fn unscaled(grid: GridKind) -> Self {
        Self::unrotated(grid, ScaleStorage::Unscaled(Unscaled))
    }

    /// Returns the values that a code can stand for.
    pub const fn grid(self) -> GridKind {
        self.grid
    }

    /// Returns which weights share a scale.
    pub fn tiling(self) -> Tiling {
        self.storage().tiling()
    }

    /// Returns how columns are rotated before they become codes, if they are.
    pub const fn rotation(self) -> Option<Rotation> {
        self.rotation
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        self.storage.rules()
    }

    /// Returns the columns that one rotation of a matrix with `cols` columns spans; 0 for none.
    pub(crate) fn rotation_group(self, cols: usize) -> usize {
        self.rotation.and_then(|rotation| rotation.group(cols)).unwrap_or(0)
    }

    /// Returns the scheme that readers of a file take this one for. It differs only where scales are
    /// chosen in a way that does not show in the file.
    #[must_use]
    pub fn read_as(self) -> Self {
        Self { storage: self.storage().read_as().unwrap_or(self.storage), ..self }
    }

    /// Returns the scheme with its scales as servers keep them: numbers of 16 bits; powers of two where
    /// some programs divide and others multiply, and for square blocks, since some kernels take
    /// exponents only and would round any other scale. FP8 codes lose no precision by powers of two.
    #[must_use]
    pub fn for_servers(self) -> Self {
        let tiling = self.tiling();
        let is_square = matches!(tiling, Tiling::Block { rows, cols } if rows == cols);
        if is_square && self == Self::scaled(self.grid, tiling) {
            return Self::scaled_by_powers(self.grid, tiling);
        }
        Self { storage: self.storage().for_servers().unwrap_or(self.storage), ..self }
    }

    /// Returns the scheme whose name this one goes by.
    pub(crate) fn named_as(self) -> Self {
        if self.storage().is_named_as_read() { self.read_as() } else { self }
    }

    /// Returns whether files hold matrices of `cols` columns in the same way under both schemes.
    /// These may differ in the largest rotation that they would take, and in how scales are chosen;
    /// and a group of whole numbers may be as wide as its row.
    pub fn is_same_for(self, other: Self, cols: usize) -> bool {
        // Compared by what a file holds: a rotation by the group that it comes to, and a row that
        // is one group as a row.
        let unrotated = |scheme: Self| {
            let scheme = Self { rotation: None, ..scheme.read_as() };
            match (scheme.grid, scheme.tiling()) {
                (
                    grid @ (GridKind::Int4 | GridKind::Int8),
                    tiling @ Tiling::Block { rows: 1, .. },
                ) if tiling == Tiling::group(cols) && scheme == Self::scaled(grid, tiling) => {
                    Self::scaled(grid, Tiling::Row)
                }
                _ => scheme,
            }
        };
        unrotated(self) == unrotated(other)
            && self.rotation_group(cols) == other.rotation_group(cols)
    }

    /// Returns the scheme of the transposed matrix, `None` where rows mean more than columns.
    pub(crate) fn transposed(self, shape: [usize; 2]) -> Option<Self> {
        // Groups of a row are rotated; down a column there are none.
        if self.rotation.is_some() {
            return None;
        }
        Some(Self { storage: self.storage().transposed(shape)?, ..self })
    }

    /// Returns the bits that one weight takes in a file, scales not counted.
    pub fn code_bits(self) -> usize {
        self.storage().code_bits(self.grid)
    }

    /// Returns the tensors that hold the scales of a `[rows, cols]` matrix.
    pub fn scale_parts(self, shape: [usize; 2]) -> Vec<ScalePart> {
        self.storage().parts(shape)
    }

    /// Tells whether codes are multiplied by anything at all.
    pub fn has_scales(self) -> bool {
        self.storage().has_scales()
    }

    /// Tells whether a byte is stored as the scale of every few weights of a row. Such weights are
    /// filled up with zeros where they do not come out even.
    pub fn has_block_scales(self) -> bool {
        self.storage().has_block_scales()
    }

    /// Tells whether codes are stored as 4-bit ones that stand for levels of a table.
    pub fn has_levels(self) -> bool {
        self.storage().has_levels()
    }

    /// Tells whether the numbers that a tile can store are counted from a zero point of its own.
    pub fn has_zero_points(self) -> bool {
        self.storage().has_zero_points()
    }

    /// Returns the rows that a tensor of the scheme has words in common for, so that servers cut and
    /// stack it at multiples of them alone: 1 where it can be cut anywhere.
    pub fn rows_in_word(self) -> usize {
        if self.has_zero_points() { ROWS_IN_WORD } else { 1 }
    }

    /// Returns what the byte that is the logarithm of the scale stands for, where the scheme has one.
    pub fn log_range(self) -> Option<LogRange> {
        self.storage().log_range()
    }

    /// Tells whether layers of one module have the same scale, which none of them can choose alone.
    pub fn shares_scales(self) -> bool {
        self.storage().is_shared()
    }

    /// Tells whether any value of the grid can be stored for any weight, so that codes may be searched.
    pub fn has_free_codes(self) -> bool {
        !self.has_levels()
    }

    /// Returns how scales are best chosen where the inputs of a layer are known and say how much each
    /// column matters: by least error on 4-bit grids. On finer ones, FP8 and INT8, that measured no
    /// gain, since searched codes make up for it.
    pub fn scale_rule_for_inputs(self) -> ScaleRule {
        // Measured on Gemma 3 270M: rotated INT4 0.076 to 0.050 nats of predicted loss, NVFP4 13 %
        // less; FP8 1 % less, INT8 2 to 10 % more (docs/rounding.md).
        let is_coarse = self.has_free_codes() && self.has_scales() && self.code_bits() <= 4;
        if is_coarse { ScaleRule::Mse } else { ScaleRule::Absmax }
    }

    /// Tells whether codes lie in memory as a file holds them, or become shorter in place, so that
    /// packing whole tiles needs no copy of them.
    pub fn is_packed_in_place(self) -> bool {
        !self.has_block_scales() && !self.has_levels()
    }

    /// Tells whether [`QuantizedMatrix::nearest_band`](crate::QuantizedMatrix::nearest_band) gives the
    /// codes and scales that the whole weight would have. It does but for a search for the one scale of
    /// a tensor, and for schemes that store something of the whole.
    pub fn is_by_band(self, rule: ScaleRule) -> bool {
        let is_searched = rule == ScaleRule::Mse && self.has_scales();
        let is_of_the_whole = self.storage().needs_whole_matrix();
        !(is_of_the_whole || is_searched && self.tiling() == Tiling::Tensor)
    }

    /// Tells whether a scale depends on the largest magnitude of the whole weight, so that all of it is
    /// looked at before the first of its codes.
    pub fn needs_largest(self) -> bool {
        self.has_scales() && (self.tiling() == Tiling::Tensor || !self.storage().is_by_tile())
    }

    /// Checks that the scheme can hold a `[rows, cols]` matrix.
    ///
    /// # Errors
    /// [`SchemeError::Ragged`] names the dimension that no whole number of blocks fills, where the
    /// last one cannot be padded; [`SchemeError::Unrotatable`] when no rotation fits the columns.
    pub fn covers(self, rows: usize, cols: usize) -> Result<(), SchemeError> {
        self.storage().covers(rows, cols)?;
        match self.rotation {
            Some(rotation) if rotation.group(cols).is_none() => {
                Err(SchemeError::Unrotatable { cols })
            }
            _ => Ok(()),
        }
    }

    /// Returns in one line what codes stand for and what is stored beside them.
    pub fn summary(self) -> String {
        let codes = self.storage().codes(self.grid);
        let rotated = self.rotation.map(|it| format!(", up to {} columns rotated", it.most()));
        format!("{codes}, {}{}", self.storage().summary(), rotated.unwrap_or_default())
    }

    /// Returns a name made of the parts, for what the catalogue has no name for: files of other
    /// programs hold it.
    pub(crate) fn composed_name(self) -> String {
        let name = self.storage().name(self.grid);
        match self.rotation {
            None => name,
            Some(rotation) => format!("{name}-convrot-{}", rotation.most()),
        }
    }
}
