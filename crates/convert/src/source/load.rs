//! Reads the weights of an input, whatever they are stored as.

use std::ops::Range;

use roundwise_layout::{ExpertBlocks, ForeignLayer, LayoutError, StoredLayer};
use roundwise_scheme::{FloatDtype, QuantizedMatrix, Scheme, Weight};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::recipe::PlainDtype;
use crate::source::experts::bank_shape;
use crate::source::numbers::{float_dtype, fp8_grid, matrix_shape, widened};
use crate::source::source::Source;
use crate::source::transposed::transposed;

/// A weight in memory, in whatever numbers it was stored.
#[derive(Debug)]
pub struct LoadedWeight {
    shape: [usize; 2],
    dtype: FloatDtype,
    bytes: Vec<u8>,
}

impl LoadedWeight {
    /// Returns the weight as a matrix.
    pub fn view(&self) -> Weight<'_> {
        Weight::new(self.shape[0], self.shape[1], self.dtype, &self.bytes)
            .expect("the header was checked against the bytes when the file was opened")
    }

    /// Returns the same numbers in rows of another length.
    pub(crate) fn seen_as(self, shape: [usize; 2]) -> Self {
        Self { shape, ..self }
    }

    /// Returns the weight with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        let Self { shape: shape @ [rows, cols], dtype, bytes } = self;
        let bytes = transposed(&bytes, shape, dtype.byte_len(), vec![]);
        Self { shape: [cols, rows], dtype, bytes }
    }

    /// Returns the memory, for the next weight.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Source {
    /// Reads a weight as numbers: plain ones as they are, quantized ones decoded to F32 with
    /// their own scales.
    ///
    /// # Errors
    /// [`ConvertError::File`] or [`ConvertError::Layout`] when it cannot be read.
    pub fn load(&self, header: &TensorHeader) -> Result<LoadedWeight, ConvertError> {
        self.load_into(header, Vec::new())
    }

    /// Reads a weight as [`Source::load`] does, into `memory` of any length and content.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(crate) fn load_into(
        &self,
        header: &TensorHeader,
        memory: Vec<u8>,
    ) -> Result<LoadedWeight, ConvertError> {
        let weight = self.load_stored(header, memory)?;
        if !self.adapters().change(&header.name) {
            return Ok(weight);
        }
        // In F32 whatever the weight's dtype: rounding a merged weight to BF16 first would cost
        // accuracy before the codes do.
        let mut values = weight.view().to_f32();
        let LoadedWeight { shape, bytes: mut memory, .. } = weight;
        self.adapters().merge(&header.name, &mut values)?;
        memory.clear();
        memory.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        Ok(LoadedWeight { shape, dtype: FloatDtype::F32, bytes: memory })
    }

    fn load_stored(
        &self,
        header: &TensorHeader,
        memory: Vec<u8>,
    ) -> Result<LoadedWeight, ConvertError> {
        if let Some(stored) = self.stored_layer(header) {
            return self.decode(stored, memory);
        }
        if let Some(foreign) = self.foreign_layer(header) {
            return self.load_foreign(foreign, 0..foreign.rows(), memory);
        }
        let dtype =
            float_dtype(header.dtype).expect("the plan converts floating-point weights only");
        let shape = matrix_shape(&header.shape).expect("the plan converts matrices only");
        let bytes = self.checkpoint.read_reusing(header, memory)?;
        Ok(LoadedWeight { shape, dtype, bytes })
    }

    fn load_foreign(
        &self,
        foreign: &ForeignLayer,
        rows: Range<usize>,
        mut memory: Vec<u8>,
    ) -> Result<LoadedWeight, ConvertError> {
        let shape = [rows.len(), foreign.cols()];
        memory.clear();
        // Exactly: a vector that grows takes up to twice as much, and memory is planned for one copy.
        memory.reserve_exact(shape[0] * shape[1] * size_of::<f32>());
        let mut values = vec![];
        for piece in foreign.pieces(rows) {
            self.foreign_rows(foreign, piece, &mut values)?;
            memory.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        Ok(LoadedWeight { shape, dtype: FloatDtype::F32, bytes: memory })
    }

    /// Reads some rows of a plain weight, or of one in codes of another program.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(crate) fn load_rows(
        &self,
        header: &TensorHeader,
        rows: Range<usize>,
        mut memory: Vec<u8>,
    ) -> Result<LoadedWeight, ConvertError> {
        if let Some(foreign) = self.foreign_layer(header) {
            return self.load_foreign(foreign, rows, memory);
        }
        let dtype = float_dtype(header.dtype).expect("bands are of plain numbers");
        let [_, cols] = matrix_shape(&header.shape).expect("bands are of matrices");
        let row_bytes = cols * dtype.byte_len();
        memory.resize(rows.len() * row_bytes, 0);
        self.checkpoint.read_into(header, (rows.start * row_bytes) as u64, &mut memory)?;
        Ok(LoadedWeight { shape: [rows.len(), cols], dtype, bytes: memory })
    }

    /// Reads the matrix of one expert of a bank: plain numbers as they are, codes decoded to F32.
    ///
    /// - `is_transposed`: whether inputs are the rows of its numbers, which they are not in codes
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(crate) fn load_expert(
        &self,
        header: &TensorHeader,
        expert: usize,
        is_transposed: bool,
        memory: Vec<u8>,
    ) -> Result<LoadedWeight, ConvertError> {
        let weight = self.load_expert_as_it_lies(header, expert, memory)?;
        Ok(if is_transposed { weight.transposed() } else { weight })
    }

    fn load_expert_as_it_lies(
        &self,
        header: &TensorHeader,
        expert: usize,
        mut memory: Vec<u8>,
    ) -> Result<LoadedWeight, ConvertError> {
        if let Some(stored) = self.stored_layer(header) {
            let matrix = self.codes_of_expert(stored, expert)?;
            let bytes = PlainDtype::F32.decoded(&matrix, memory);
            return Ok(LoadedWeight { shape: matrix.shape(), dtype: FloatDtype::F32, bytes });
        }
        let bank = bank_shape(&self.shape_of(header)).expect("the plan knows banks by their shape");
        if let Some(foreign) = self.foreign_layer(header) {
            let [height, _] = bank.matrix;
            return self.load_foreign(foreign, expert * height..(expert + 1) * height, memory);
        }
        let dtype = float_dtype(header.dtype).expect("banks are of plain numbers, or of codes");
        let length = bank.matrix[0] * bank.matrix[1] * dtype.byte_len();
        memory.resize(length, 0);
        self.checkpoint.read_into(header, expert as u64 * length as u64, &mut memory)?;
        Ok(LoadedWeight { shape: bank.matrix, dtype, bytes: memory })
    }

    /// Reads the codes and scales of one expert of gpt-oss: outputs are their rows.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(crate) fn blocks_of_expert(
        &self,
        bank: &ExpertBlocks,
        expert: usize,
    ) -> Result<QuantizedMatrix, ConvertError> {
        bank.read_expert(&self.checkpoint, expert).map_err(|source| self.layout_error(source))
    }

    /// Reads the codes and scales of one expert of a bank.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(crate) fn codes_of_expert(
        &self,
        stored: &StoredLayer,
        expert: usize,
    ) -> Result<QuantizedMatrix, ConvertError> {
        let matrix = stored.read_expert(&self.checkpoint, expert);
        matrix.map_err(|source| self.layout_error(source))
    }

    fn decode(&self, stored: &StoredLayer, memory: Vec<u8>) -> Result<LoadedWeight, ConvertError> {
        let matrix = self.codes(stored)?;
        let bytes = PlainDtype::F32.decoded(&matrix, memory);
        Ok(LoadedWeight { shape: matrix.shape(), dtype: FloatDtype::F32, bytes })
    }

    /// Returns whether ComfyUI's files can represent the layer exactly, scale by scale.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn multiplies_exactly(&self, stored: &StoredLayer) -> Result<bool, ConvertError> {
        stored.multiplies_exactly(&self.checkpoint).map_err(|source| self.layout_error(source))
    }

    /// Reads the codes and scales of a layer.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(crate) fn codes(&self, stored: &StoredLayer) -> Result<QuantizedMatrix, ConvertError> {
        stored.read(&self.checkpoint).map_err(|source| self.layout_error(source))
    }

    /// Reads the codes of a layer, or FP8 numbers that need no layer.
    ///
    /// - `header`: of a tensor that the plan decodes, not in codes of another program
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(crate) fn decoded_codes(
        &self,
        header: &TensorHeader,
    ) -> Result<QuantizedMatrix, ConvertError> {
        match self.stored_layer(header) {
            Some(stored) => self.codes(stored),
            None => self.fp8_numbers(header),
        }
    }

    /// Reads FP8 numbers without a scale, of a tensor of any shape, as one row.
    ///
    /// - `header`: of a dtype that has an [`fp8_grid`]
    fn fp8_numbers(&self, header: &TensorHeader) -> Result<QuantizedMatrix, ConvertError> {
        let grid = fp8_grid(header.dtype).expect("the plan decodes FP8 numbers only");
        let codes = self.checkpoint.read(header)?;
        let row =
            QuantizedMatrix::from_parts(Scheme::unscaled(grid), [1, codes.len()], codes, vec![1.0]);
        Ok(row.expect("one code for each byte"))
    }

    /// Reads the numbers of a tensor of any shape, with the adapters' changes added.
    ///
    /// - `header`: of plain numbers, FP8 without a scale among them
    pub(crate) fn merged_numbers(&self, header: &TensorHeader) -> Result<Vec<f32>, ConvertError> {
        let mut values = match float_dtype(header.dtype) {
            Some(dtype) => widened(dtype, &self.checkpoint.read(header)?),
            None => self.fp8_numbers(header)?.to_f32(),
        };
        self.adapters().merge(&header.name, &mut values)?;
        Ok(values)
    }

    /// Decodes some rows of a layer in codes of another program.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(crate) fn foreign_rows(
        &self,
        foreign: &ForeignLayer,
        rows: Range<usize>,
        values: &mut Vec<f32>,
    ) -> Result<(), ConvertError> {
        values.resize(rows.len() * foreign.cols(), 0.0);
        let decoded = foreign.decode(&self.checkpoint, rows, values);
        decoded.map_err(|source| self.layout_error(source))
    }

    fn layout_error(&self, source: LayoutError) -> ConvertError {
        ConvertError::Layout { path: self.checkpoint.path().to_owned(), source }
    }
}
