//! How scales are chosen and stored: one file for each way.
//!
//! To add a way, write a file beside these with its [`Storage`], and give it a variant of
//! [`ScaleStorage`] and an arm of [`ScaleStorage::rules`]. Nothing else looks at the variants.

mod absmax;
mod bf16;
mod block_bytes;
mod f32;
mod f32_power_of_two;
mod leveled;
mod logarithmic;
mod power_of_two;
mod two_level;
mod unscaled;
mod zero_points;

use std::collections::BTreeMap;

use roundwise_grid::GridKind;

use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::scales::Scales;
use crate::tiling::Tiling;

pub use absmax::ZERO_ABSMAX;
pub(crate) use bf16::Bf16Scales;
pub(crate) use f32::F32;
pub use f32::MSE_MULTIPLES;
pub(crate) use f32_power_of_two::F32PowerOfTwo;
pub use leveled::{CODEBOOK, LEVEL_GROUP};
pub(crate) use leveled::{Leveled, Levels, quantize as quantize_to_levels};
pub use logarithmic::LogRange;
pub(crate) use logarithmic::Logarithmic;
pub(crate) use power_of_two::PowerOfTwo;
pub(crate) use two_level::TwoLevel;
pub(crate) use unscaled::Unscaled;
pub(crate) use zero_points::{
    ROWS_IN_WORD, ZeroPoints, code_range, nearest_error as nearest_error_from_zero_points,
    quantize as quantize_from_zero_points,
};

/// The ways of storing scales, as a value that can be copied and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ScaleStorage {
    F32(F32),
    Bf16(Bf16Scales),
    F32PowerOfTwo(F32PowerOfTwo),
    PowerOfTwo(PowerOfTwo),
    TwoLevel(TwoLevel),
    Logarithmic(Logarithmic),
    Leveled(Leveled),
    Unscaled(Unscaled),
    ZeroPoints(ZeroPoints),
}

impl ScaleStorage {
    /// Returns the rules of this way. This is the one place where the ways are told apart.
    pub(crate) fn rules(&self) -> &dyn Storage {
        match self {
            ScaleStorage::F32(storage) => storage,
            ScaleStorage::Bf16(storage) => storage,
            ScaleStorage::F32PowerOfTwo(storage) => storage,
            ScaleStorage::PowerOfTwo(storage) => storage,
            ScaleStorage::TwoLevel(storage) => storage,
            ScaleStorage::Logarithmic(storage) => storage,
            ScaleStorage::Leveled(storage) => storage,
            ScaleStorage::Unscaled(storage) => storage,
            ScaleStorage::ZeroPoints(storage) => storage,
        }
    }
}

/// Everything that depends on how scales are stored: which weights share one, which values it can
/// have and how one is chosen, and the tensors that hold them in a file.
///
/// Methods work on whole slices, so that a call through the table of methods is made once for a
/// matrix or a row, never for a weight.
pub(crate) trait Storage {
    /// Returns which weights share a scale.
    fn tiling(&self) -> Tiling;

    /// Returns a name for schemes that the catalogue has none for.
    fn name(&self, grid: GridKind) -> String;

    /// Says in a few words what the stored codes are.
    fn codes(&self, grid: GridKind) -> String {
        format!("{} codes", grid.name().to_uppercase())
    }

    /// Says in a few words what is stored beside the codes.
    fn summary(&self) -> String;

    /// Refuses matrices with a last block that cannot be padded.
    fn covers(&self, _rows: usize, _cols: usize) -> Result<(), SchemeError> {
        Ok(())
    }

    /// Returns how the transposed matrix stores its scales, `None` where rows mean more than
    /// columns.
    fn transposed(&self, _shape: [usize; 2]) -> Option<ScaleStorage> {
        None
    }

    /// Turns the largest magnitude of each tile into its scale, without looking at other tiles.
    fn scale_tiles(&self, grid: GridKind, maxima: &mut [f32]);

    /// Turns the largest magnitudes of all tiles into scales.
    ///
    /// - `largest`: of the whole matrix, of which `maxima` may be a part
    fn choose(&self, grid: GridKind, mut maxima: Vec<f32>, _largest: f32) -> Scales {
        self.scale_tiles(grid, &mut maxima);
        maxima.into()
    }

    /// Returns how many scales near the chosen one a search for the least error tries.
    fn candidate_count(&self, _grid: GridKind) -> usize {
        0
    }

    /// Fills in the scales near the chosen one of a tile that can be stored as well, in ascending order.
    ///
    /// - `tensor`: the factor that the scales share
    /// - `candidates`: [`candidate_count`](Self::candidate_count) of them
    fn candidates(&self, _scale: f32, _tensor: f32, _candidates: &mut [f32]) {}

    /// Tells whether the scale of a tile follows from that tile alone, so that a row can be rounded
    /// while it is at hand.
    fn is_by_tile(&self) -> bool {
        false
    }

    /// Returns the tensors that hold the scales of a matrix.
    fn parts(&self, shape: [usize; 2]) -> Vec<ScalePart>;

    /// Returns the bytes of [`parts`](Self::parts), in their order.
    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>>;

    /// Returns the codes as a file holds them, a byte for each that is shorter.
    fn stored_codes(&self, matrix: QuantizedMatrix) -> Vec<u8> {
        matrix.into_codes()
    }

    /// Reads codes and scales back.
    ///
    /// # Errors
    /// [`SchemeError::PartLength`] when they do not fit the shape.
    fn read(
        &self,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError>;

    /// Returns the bits that one code takes in a file.
    fn code_bits(&self, grid: GridKind) -> usize {
        grid.code_bits()
    }

    /// Returns the storage that readers take this one for, where it differs in nothing but the
    /// values that are chosen.
    fn read_as(&self) -> Option<ScaleStorage> {
        None
    }

    /// Returns the storage of the same scales as servers keep them, where that differs.
    fn for_servers(&self) -> Option<ScaleStorage> {
        None
    }

    /// Tells whether a scheme goes by the name of the one that readers take it for.
    fn is_named_as_read(&self) -> bool {
        false
    }

    /// Tells whether codes are multiplied by anything at all.
    fn has_scales(&self) -> bool {
        true
    }

    /// Tells whether there is a byte for every few weights of a row; rows are filled up with zeros.
    fn has_block_scales(&self) -> bool {
        false
    }

    /// Tells whether codes stand for levels of a table, so that none can be chosen by itself.
    fn has_levels(&self) -> bool {
        false
    }

    /// Tells whether the numbers that a tile can store are counted from a zero point of its own.
    fn has_zero_points(&self) -> bool {
        false
    }

    /// Tells whether layers of one module have the same scale.
    fn is_shared(&self) -> bool {
        false
    }

    /// Tells whether something of the whole matrix is stored, beyond its largest magnitude.
    fn needs_whole_matrix(&self) -> bool {
        false
    }

    /// Returns what a byte that is a logarithm stands for.
    fn log_range(&self) -> Option<LogRange> {
        None
    }
}

/// Scales as a file holds them: little-endian, row-major, by what they scale.
pub type StoredScales = BTreeMap<ScaleRole, Vec<u8>>;

/// A tensor that holds scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePart {
    /// The values that it scales.
    pub role: ScaleRole,
    /// How its numbers are stored.
    pub numbers: ScaleNumbers,
    /// Its sizes, none for a single number.
    pub shape: Vec<usize>,
}

impl ScalePart {
    fn new(role: ScaleRole, numbers: ScaleNumbers, shape: &[usize]) -> Self {
        Self { role, numbers, shape: shape.to_vec() }
    }
}

/// The values that a tensor of scales scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScaleRole {
    /// The weights of each tile.
    Tiles,
    /// All scales of tiles.
    Tensor,
    /// Nothing: it repeats the largest scale, for readers that take one scale for all.
    Largest,
    /// The levels of each row.
    Rows,
    /// The table of levels, for each group of a row.
    Groups,
    /// Nothing: its numbers are the levels themselves.
    Levels,
    /// Nothing: the numbers of each tile are counted from its own.
    ZeroPoints,
}

/// How the numbers of a tensor of scales are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleNumbers {
    /// IEEE binary32.
    F32,
    /// The upper half of IEEE binary32.
    Bf16,
    /// A byte, an E4M3 number.
    E4m3,
    /// A byte, the exponent of a power of two.
    E8m0,
    /// A byte, a logarithm in a [`LogRange`].
    Logarithm,
    /// Eight whole numbers of 4 bits in a word of 32, made positive by adding 8.
    Nibbles,
}

/// Returns the bytes of F32 numbers.
fn f32_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Returns the F32 numbers of bytes; up to three bytes that are left over are no number.
fn f32_numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
