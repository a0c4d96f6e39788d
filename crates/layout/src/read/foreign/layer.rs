use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError};

use crate::error::LayoutError;
use crate::names::layer_of;
use crate::read::foreign::program::ForeignProgram;

/// Turns the codes of one layer into numbers.
pub(crate) trait Decode: fmt::Debug + Send + Sync {
    /// Decodes some rows.
    ///
    /// - `rows`: of all rows, those of later matrices behind those of earlier ones where there are
    ///   several
    /// - `values`: row-major, as many as the rows have
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError>;
}

/// A layer in codes of another program, which are read as numbers: no layout here has a place for
/// them as they are.
#[derive(Clone, Debug)]
pub struct ForeignLayer {
    /// Name of the tensor that it is decoded to, such as `x.weight`.
    pub name: String,
    /// Name of the tensor that holds its codes.
    pub codes_tensor: String,
    /// The program that made it.
    pub program: &'static ForeignProgram,
    /// Its codes in words, such as `4 bits in groups of 128`.
    pub codes: String,
    /// Shape of its numbers, `[rows, cols]`, or one with more in front: matrices of several experts.
    pub shape: Vec<u64>,
    /// The dtype of 16 or 32 bits that its numbers had before, as far as the file tells.
    pub dtype: Option<Dtype>,
    /// Entries of the header's metadata that speak of it and of nothing else.
    pub metadata: Vec<String>,
    /// Its other tensors: scales, zero points and the like.
    pub(crate) parts: Vec<String>,
    rows: usize,
    cols: usize,
    decoder: Arc<dyn Decode>,
}

/// A layer as a program's file describes it.
pub(crate) struct LayerDescription {
    pub(crate) name: String,
    pub(crate) codes_tensor: String,
    pub(crate) parts: Vec<String>,
    pub(crate) codes: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) dtype: Option<Dtype>,
    pub(crate) decoder: Arc<dyn Decode>,
}

impl ForeignLayer {
    /// Puts a layer together.
    ///
    /// # Errors
    /// One line, for a shape without rows or past this machine's memory.
    pub(crate) fn new(
        program: &'static ForeignProgram,
        found: LayerDescription,
    ) -> Result<Self, String> {
        let LayerDescription { name, codes_tensor, parts, codes, shape, dtype, decoder } = found;
        let size = |count: u64| usize::try_from(count).ok().filter(|&count| count > 0);
        let [before @ .., last] = shape.as_slice() else {
            return Err("its shape is that of a single number".to_owned());
        };
        let rows = before.iter().try_fold(1_u64, |rows, &next| rows.checked_mul(next));
        let sizes = rows.and_then(size).zip(size(*last));
        // No piece of memory is longer than `isize::MAX`; eight bytes for each number are more than any
        // code here asks for.
        let fits = |&(rows, cols): &(usize, usize)| {
            rows.checked_mul(cols).is_some_and(|count| count <= isize::MAX as usize / 8)
        };
        let Some((rows, cols)) = sizes.filter(fits) else {
            return Err(format!("its shape is {shape:?}, which is empty or past all memory"));
        };
        let metadata = vec![];
        Ok(Self {
            name,
            codes_tensor,
            program,
            codes,
            shape,
            dtype,
            metadata,
            parts,
            rows,
            cols,
            decoder,
        })
    }

    /// Returns its name without `.weight`.
    pub fn layer(&self) -> &str {
        layer_of(&self.name)
    }

    /// Returns the number of rows, those of all experts together.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the numbers in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns `rows` in pieces of some 2²¹ numbers, 8 MiB once decoded: banks of experts are large, and so
    /// are the tables of embeddings.
    pub fn pieces(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, height) = (rows.end, ((1 << 21) / self.cols).max(1));
        rows.step_by(height).map(move |first| first..end.min(first + height))
    }

    /// Decodes some rows, row-major: what the program's own formula gives in single precision.
    ///
    /// # Errors
    /// [`LayoutError::File`] when the file cannot be read, [`LayoutError::NotFinite`] when a number is
    /// none: a scale is damaged.
    ///
    /// # Panics
    /// When `rows` or the length of `values` is out of range.
    pub fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), LayoutError> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows of the layer");
        assert_eq!(values.len(), rows.len() * self.cols, "length of the rows");
        let first = rows.start;
        if rows.is_empty() {
            return Ok(());
        }
        self.decoder.decode(file, rows, values)?;
        // Checked after decoding, since scales that are codes themselves show a NaN only then.
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => Err(LayoutError::NotFinite {
                layer: self.layer().to_owned(),
                problem: format!(
                    "row {} of its numbers holds a NaN or an infinity; a scale of {} is damaged",
                    first + at / self.cols,
                    self.program.name,
                ),
            }),
        }
    }
}

/// The part that one tensor of a program's file plays in its layer.
pub(crate) struct Recognised {
    /// Name of the layer, for what is said of it.
    pub(crate) layer: String,
    pub(crate) program: &'static ForeignProgram,
    /// The layer, or one line that says why it cannot be read.
    pub(crate) found: Result<LayerDescription, String>,
}
