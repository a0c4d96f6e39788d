use half::bf16;
use roundwise_layout::{
    ExpertBlocks, ForeignLayer, LayoutError, StoredLayer, bias_of, layer_of, layer_of_bias,
    layer_of_input_scale, layer_of_weight, weight_of,
};
use roundwise_scheme::{
    FloatDtype, GridKind, QuantizedMatrix, Scheme, Weight, WeightError, measure,
};
use roundwise_tensor_file::{Dtype, TensorHeader, pieces};

use crate::error::ConvertError;
use crate::inspect::codes::{self, Judged};
use crate::inspect::outputs::Outputs;
use crate::inspect::verification::{Biases, Finding, LayerError};
use crate::model::Preset;
use crate::recipe::{PlainDtype, Setting, Text};
use crate::source::experts::bank_shape;
use crate::source::numbers::{float_dtype, matrix_shape, widened};
use crate::source::{LoadedWeight, Source};

/// Both files, and what may differ between them.
pub(super) struct Comparison {
    pub(super) original: Source,
    pub(super) converted: Source,
    pub(super) biases: Biases,
    pub(super) outputs: Option<Outputs>,
}

/// The outcome of comparing one tensor of the original with the converted file.
pub(super) enum Outcome {
    Identical,
    Removed(String),
    /// A scale or a marker, which the layer answers for.
    SideTensor,
    /// Its layer is among the defects already.
    AmongDefects,
    Layer(LayerError, Option<String>),
    Wrong(Finding),
}

pub(super) fn finding(tensor: &str, problem: impl Into<Text>) -> Finding {
    Finding { tensor: tensor.to_owned(), problem: problem.into(), breaks: "" }
}

/// Returns whether numbers became other numbers of 16 bits.
fn is_narrowed(before: Dtype, after: Dtype) -> bool {
    let is_number = float_dtype(before).is_some();
    is_number && before != after && matches!(after, Dtype::F16 | Dtype::BF16)
}

impl Comparison {
    /// Compares one tensor of the original with what became of it.
    pub(super) fn compare(&self, before: &TensorHeader) -> Result<Outcome, ConvertError> {
        // 1. Scales and markers, which their layer answers for.
        let stored = &self.original.stored;
        if stored.side_tensors.contains_key(&before.name) || stored.strays.contains(&before.name) {
            let after = self.converted.checkpoint.get(&before.name);
            return match after.filter(|_| layer_of_input_scale(&before.name).is_some()) {
                Some(after) if after.shape == before.shape => self.compare_bytes(before, after),
                _ => Ok(Outcome::SideTensor),
            };
        }
        // 2. What is missing.
        let Some(after) = self.find_after(before) else {
            return Ok(match self.may_be_missing(&before.name) {
                true => Outcome::Removed(before.name.clone()),
                false => Outcome::Wrong(finding(&before.name, "is missing")),
            });
        };
        // 3. Codes of another program, which are the same or became numbers.
        let layer = layer_of(&before.name);
        let foreign = self.original.foreign_layer(before);
        let bank = self.converted.stored.expert_blocks.get(layer);
        match (foreign, self.converted.foreign_layer(after)) {
            (_, Some(same)) if foreign.is_some_and(|it| it.shape == same.shape) => {
                return match (self.compare_bytes(before, after)?, bank) {
                    (Outcome::Wrong(_), Some(bank)) => self.compare_bank(before, bank),
                    (outcome, _) => Ok(outcome),
                };
            }
            (None, Some(same)) if self.original.shape_of(before) == same.shape => {
                if let Some(bank) = bank {
                    return self.compare_bank(before, bank);
                }
            }
            (Some(foreign), None) if !self.converted.stored.layers.contains_key(layer) => {
                return self.compare_foreign(before, foreign, after);
            }
            _ => {}
        }
        if self.converted.stored.defects.iter().any(|defect| defect.layer == layer) {
            return Ok(Outcome::AmongDefects);
        }
        // 4. All else, by what it was and what it is now.
        let stored_after = self.converted.stored.layers.get(layer);
        let is_weight = layer_of_weight(&before.name).is_some();
        match stored_after {
            Some(stored) if is_weight => self.compare_codes(before, stored),
            _ if self.original.shape_of(before) != after.shape => {
                let problem = format!("shape {:?} became {:?}", before.shape, after.shape);
                Ok(Outcome::Wrong(finding(&before.name, problem)))
            }
            _ if is_weight && self.original.stored.layers.contains_key(layer) => {
                self.compare_decoded(before, after)
            }
            _ if is_weight && is_narrowed(before.dtype, after.dtype) => {
                self.compare_numbers(before, after)
            }
            _ if before.is_in_blocks() && is_narrowed(before.dtype, after.dtype) => {
                self.compare_blocks(before, after)
            }
            _ if self.is_bias_of_codes(before, after) => self.compare_bias(before, after),
            _ => self.compare_bytes(before, after),
        }
    }

    /// Finds the tensor of the converted file that stands for one of the original. Other programs'
    /// files give packed weights a name of their own.
    fn find_after(&self, before: &TensorHeader) -> Option<&TensorHeader> {
        let after = &self.converted.checkpoint;
        let stored = self.original.stored_layer(before);
        // The name of the decoded weight first: an original in packed codes has the tensor under
        // another one.
        let unpacked = stored.and_then(|stored| after.get(&weight_of(&stored.layer)));
        let packed = || {
            let stored = self.converted.stored.layers.get(layer_of_weight(&before.name)?)?;
            after.get(&stored.weight())
        };
        unpacked.or_else(|| after.get(&before.name)).or_else(packed)
    }

    /// Returns whether the tensor is the bias of a layer in codes, which a conversion may have
    /// corrected.
    fn is_bias_of_codes(&self, before: &TensorHeader, after: &TensorHeader) -> bool {
        let is_in_codes = layer_of_bias(&before.name)
            .is_some_and(|layer| self.converted.stored.layers.contains_key(layer));
        is_in_codes && before.dtype == after.dtype
    }

    /// Compares a bias with the original. A corrected bias must hold finite numbers; only the
    /// conversion knows which.
    fn compare_bias(
        &self,
        before: &TensorHeader,
        after: &TensorHeader,
    ) -> Result<Outcome, ConvertError> {
        if let Outcome::Identical = self.compare_bytes(before, after)? {
            return Ok(Outcome::Identical);
        }
        if self.biases == Biases::Same {
            let problem = Text::from("bytes differ from the original; ")
                + Setting::new("biases").quoted()
                + " may let a correction pass";
            return Ok(Outcome::Wrong(finding(&before.name, problem)));
        }
        let values = self.converted_numbers(after)?;
        let is_finite = |(_, values): (_, Vec<f32>)| values.iter().all(|value| value.is_finite());
        Ok(match values.is_some_and(is_finite) {
            true => Outcome::SideTensor,
            false => Outcome::Wrong(finding(&before.name, "is no bias: not all finite numbers")),
        })
    }

    /// Returns whether a preset leaves the tensor out on purpose.
    fn may_be_missing(&self, name: &str) -> bool {
        // By any preset, since the one that the conversion went by is not known here.
        let shapes = self.original.shapes();
        Preset::all().iter().any(|preset| preset.remove_reason(name, &shapes).is_some())
    }

    /// Returns a weight of the original, and the codes or numbers of 16 bits that became of it.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] where there are none, or they cannot be compared.
    pub(super) fn weight_and_codes(
        &self,
        before: &TensorHeader,
    ) -> Result<(LoadedWeight, QuantizedMatrix), ConvertError> {
        let misfit = |problem: String| {
            let path = self.converted.checkpoint.path();
            ConvertError::misfit(path, format!("tensor `{}`: {problem}", before.name))
        };
        let stored = self.converted.stored.layers.get(layer_of(&before.name));
        let is_weight = layer_of_weight(&before.name).is_some();
        let matrix = match (stored.filter(|_| is_weight), self.find_after(before)) {
            (Some(stored), _) => self
                .read_codes(before, stored)
                .map_err(|error| misfit(error.to_string()))
                .map(Some)?,
            (None, Some(after)) if is_narrowed(before.dtype, after.dtype) => {
                self.read_narrowed(after)?
            }
            (None, _) => None,
        };
        let matrix = matrix.ok_or_else(|| misfit("is not in codes".to_owned()))?;
        if let Some(problem) = codes::invalid(&matrix) {
            return Err(misfit(problem));
        }
        let weight = self.load_as(before, matrix.shape()).map_err(|error| {
            let shapes = format!("{:?} became {:?}", before.shape, matrix.shape());
            error.unwrap_or_else(|| misfit(shapes))
        })?;
        // A single NaN or infinity among the weights makes their sum of squares one, so that no second
        // pass is needed to look for it.
        match measure(&weight.view(), &matrix).weight_squared.is_finite() {
            true => Ok((weight, matrix)),
            false => Err(misfit(codes::NOT_FINITE.to_owned())),
        }
    }

    fn read_codes(
        &self,
        before: &TensorHeader,
        stored: &StoredLayer,
    ) -> Result<QuantizedMatrix, LayoutError> {
        // The original knows what of a padded weight is padding, also where the file does not say.
        let shape = self.original.shape_of(before);
        let shape = match stored.experts {
            Some(_) => bank_shape(&shape).map(|bank| bank.matrix),
            None => matrix_shape(&shape),
        };
        let cut = shape.and_then(|shape| stored.cut_to(shape));
        cut.as_ref().unwrap_or(stored).read(&self.converted.checkpoint)
    }

    /// Reads numbers of 16 bits as codes that stand for themselves; `None` where they are no matrix.
    fn read_narrowed(&self, after: &TensorHeader) -> Result<Option<QuantizedMatrix>, ConvertError> {
        let grid = if after.dtype == Dtype::F16 { GridKind::F16 } else { GridKind::Bf16 };
        let codes = self.converted.checkpoint.read(after)?;
        let shape = matrix_shape(&after.shape);
        Ok(shape.and_then(|shape| {
            QuantizedMatrix::from_parts(Scheme::unscaled(grid), shape, codes, vec![1.0]).ok()
        }))
    }

    fn compare_codes(
        &self,
        before: &TensorHeader,
        stored: &StoredLayer,
    ) -> Result<Outcome, ConvertError> {
        match self.read_codes(before, stored) {
            Ok(matrix) => Ok(match self.compare_matrix(before, &matrix)? {
                // The experts of a bank come as one matrix, with a scale for each.
                Outcome::Layer(layer, problem) if stored.experts.is_some() => {
                    let scheme = stored.scheme.to_string();
                    Outcome::Layer(LayerError { scheme, ..layer }, problem)
                }
                outcome => outcome,
            }),
            Err(error) => Ok(Outcome::Wrong(finding(&before.name, error.to_string()))),
        }
    }

    /// Compares a bank of experts with codes of gpt-oss, one expert after the other.
    fn compare_bank(
        &self,
        before: &TensorHeader,
        bank: &ExpertBlocks,
    ) -> Result<Outcome, ConvertError> {
        let (mut sums, mut most, mut problem) = (WeightError::default(), 0.0_f32, None);
        let mut memory = vec![];
        for expert in 0..bank.experts {
            let wrong = |problem: String| {
                let problem = format!("expert {expert}: {problem}");
                Ok(Outcome::Wrong(finding(&before.name, problem)))
            };
            let matrix = self.converted.blocks_of_expert(bank, expert)?;
            if let Some(problem) = codes::invalid(&matrix) {
                return wrong(problem);
            }
            let weight = self.original.load_expert(before, expert, true, memory)?;
            let found = match codes::judge(&weight.view(), &matrix) {
                Ok(found) => found,
                Err(problem) => return wrong(problem),
            };
            sums += found.error;
            most = most.max(found.largest_step.at_weight);
            problem = problem.or(found.problem.map(|it| format!("expert {expert}: {it}")));
            memory = weight.into_bytes();
        }
        let layer = LayerError {
            name: before.name.clone(),
            scheme: bank.scheme.to_string(),
            weight_error: sums.relative(),
            // Collectors see no layer of an expert.
            output_error: None,
            nearest_output_error: None,
            largest_step: most,
        };
        Ok(Outcome::Layer(layer, problem))
    }

    /// Compares a weight that became numbers of 16 bits, which is a rounding like others.
    fn compare_numbers(
        &self,
        before: &TensorHeader,
        after: &TensorHeader,
    ) -> Result<Outcome, ConvertError> {
        match self.read_narrowed(after)? {
            Some(matrix) => self.compare_matrix(before, &matrix),
            None => self.compare_bytes(before, after),
        }
    }

    fn compare_matrix(
        &self,
        before: &TensorHeader,
        matrix: &QuantizedMatrix,
    ) -> Result<Outcome, ConvertError> {
        let wrong = |problem: String| Ok(Outcome::Wrong(finding(&before.name, problem)));
        if let Some(problem) = codes::invalid(matrix) {
            return wrong(problem);
        }
        let weight = match self.load_as(before, matrix.shape()) {
            Ok(weight) => weight,
            Err(Some(error)) => return Err(error),
            Err(None) => {
                return wrong(format!("{:?} became {:?}", before.shape, matrix.shape()));
            }
        };
        let Judged { error, largest_step, problem } = match codes::judge(&weight.view(), matrix) {
            Ok(judged) => judged,
            Err(problem) => return wrong(problem),
        };
        let outputs = match &self.outputs {
            Some(outputs) => {
                let layer = layer_of(&before.name);
                let has_bias = self.original.checkpoint.get(&bias_of(layer)).is_some();
                outputs.errors(layer, &weight.view(), has_bias, matrix)?
            }
            None => None,
        };
        let layer = LayerError {
            name: before.name.clone(),
            scheme: matrix.scheme().to_string(),
            weight_error: error.relative(),
            output_error: outputs.map(|[stored, _]| stored),
            nearest_output_error: outputs.map(|[_, nearest]| nearest),
            largest_step: largest_step.at_weight,
        };
        Ok(Outcome::Layer(layer, problem))
    }

    /// Loads the original's weight; the error is `None` when it has another shape or holds no
    /// numbers.
    fn load_as(
        &self,
        before: &TensorHeader,
        shape: [usize; 2],
    ) -> Result<LoadedWeight, Option<ConvertError>> {
        let is_stored = self.original.is_in_codes(before);
        // Codes of a bank come as one matrix, whose rows need not be the tensor's.
        let whole = self.original.shape_of(before);
        let elements = whole.iter().fold(1_u64, |count, size| count.saturating_mul(*size));
        let is_bank =
            whole.len() == 3 && elements == (shape[0] as u64).saturating_mul(shape[1] as u64);
        let is_matrix = is_bank || matrix_shape(&before.shape) == Some(shape);
        let is_number = float_dtype(before.dtype).is_some();
        if !(is_stored || is_matrix && is_number) {
            return Err(None);
        }
        let weight = self.original.load(before).map_err(Some)?;
        let weight = if is_bank { weight.seen_as(shape) } else { weight };
        let view = weight.view();
        if [view.rows(), view.cols()] == shape { Ok(weight) } else { Err(None) }
    }

    /// Compares a layer in codes that became plain numbers: it must have kept its values.
    fn compare_decoded(
        &self,
        before: &TensorHeader,
        after: &TensorHeader,
    ) -> Result<Outcome, ConvertError> {
        let expected = self.original.load(before)?.view().to_f32();
        let Some((dtype, found)) = self.converted_numbers(after)? else {
            return Ok(Outcome::Wrong(finding(&before.name, "holds codes without a scale")));
        };
        // F32 and F64 hold every decoded value, BF16 its rounding.
        // Both have one length, since the shapes have been compared before.
        let is_same = found.iter().zip(&expected).all(|(&found, &expected)| {
            let expected = match dtype {
                FloatDtype::BF16 => bf16::from_f32(expected).to_f32(),
                _ => expected,
            };
            found == expected || (found.is_nan() && expected.is_nan())
        });
        match (is_same, dtype) {
            (true, _) => Ok(Outcome::Identical),
            // F16 cannot hold all of them, and is judged as a rounding.
            (false, FloatDtype::F16) => self.compare_numbers(before, after),
            (false, FloatDtype::BF16 | FloatDtype::F32 | FloatDtype::F64) => {
                Ok(Outcome::Wrong(finding(&before.name, "differs from the decoded original")))
            }
        }
    }

    /// Compares a layer in codes of another program with the plain numbers that it became.
    fn compare_foreign(
        &self,
        before: &TensorHeader,
        foreign: &ForeignLayer,
        after: &TensorHeader,
    ) -> Result<Outcome, ConvertError> {
        let wrong = |problem: String| Ok(Outcome::Wrong(finding(&before.name, problem)));
        if foreign.shape != after.shape {
            return wrong(format!("shape {:?} became {:?}", foreign.shape, after.shape));
        }
        let dtype = match after.dtype {
            Dtype::F32 => PlainDtype::F32,
            Dtype::F16 => PlainDtype::F16,
            Dtype::BF16 => PlainDtype::Bf16,
            _ => return wrong("holds codes without a scale".to_owned()),
        };
        let (mut values, mut expected, mut found) = (vec![], vec![], vec![]);
        let mut at = 0;
        for rows in foreign.pieces(0..foreign.rows()) {
            self.original.foreign_rows(foreign, rows, &mut values)?;
            // Decoded and rounded by the code that the conversion runs, so the bytes have to be equal.
            expected = dtype.stored(&values, expected);
            found.resize(expected.len(), 0);
            self.converted.checkpoint.read_into(after, at, &mut found)?;
            if found != expected {
                return wrong("differs from the decoded original".to_owned());
            }
            at += found.len() as u64;
        }
        Ok(Outcome::Identical)
    }

    /// Compares a tensor in blocks of GGUF that is no weight with the numbers of 16 bits that it became.
    fn compare_blocks(
        &self,
        before: &TensorHeader,
        after: &TensorHeader,
    ) -> Result<Outcome, ConvertError> {
        let numbers = widened(FloatDtype::F32, &self.original.checkpoint.read(before)?);
        let dtype = PlainDtype::of_numbers(Some(after.dtype));
        Ok(match dtype.stored(&numbers, vec![]) == self.converted.checkpoint.read(after)? {
            true => Outcome::Identical,
            false => Outcome::Wrong(finding(&before.name, "differs from the decoded original")),
        })
    }

    /// Returns the numbers of a plain tensor of the converted file, and their dtype; `None` where it
    /// holds none.
    fn converted_numbers(
        &self,
        after: &TensorHeader,
    ) -> Result<Option<(FloatDtype, Vec<f32>)>, ConvertError> {
        let Some(dtype) = float_dtype(after.dtype) else { return Ok(None) };
        let bytes = self.converted.checkpoint.read_reusing(after, Vec::new())?;
        let numbers = Weight::new(1, after.element_count() as usize, dtype, &bytes).ok();
        Ok(numbers.map(|numbers| (dtype, numbers.to_f32())))
    }

    fn compare_bytes(
        &self,
        before: &TensorHeader,
        after: &TensorHeader,
    ) -> Result<Outcome, ConvertError> {
        if before.dtype != after.dtype {
            let problem = format!("{} became {}", before.dtype.name(), after.dtype.name());
            return Ok(Outcome::Wrong(finding(&before.name, problem)));
        }
        let mut buffers = [vec![], vec![]];
        for piece in pieces(before.byte_len()) {
            for (buffer, (source, header)) in
                buffers.iter_mut().zip([(&self.original, before), (&self.converted, after)])
            {
                buffer.resize((piece.end - piece.start) as usize, 0);
                source.checkpoint.read_into(header, piece.start, buffer)?;
            }
            if buffers[0] != buffers[1] {
                return Ok(Outcome::Wrong(finding(&before.name, "bytes differ from the original")));
            }
        }
        Ok(Outcome::Identical)
    }
}
