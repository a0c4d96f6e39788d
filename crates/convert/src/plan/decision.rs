use std::collections::BTreeMap;

use roundwise_layout::{
    InputScale, LayerShape, MatmulPrecision, input_scale_of, layer_of, layer_of_weight, weight_of,
};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::{Dtype, TensorHeader, TensorSpec};
use serde::{Deserialize, Serialize};

use crate::plan::reason::Reason;
use crate::recipe::PlainDtype;
use crate::source::experts::bank_shape;
use crate::source::numbers::matrix_shape;

/// Weights in which a NaN or an infinity was found, with the first such row. It is known only after
/// a weight has been read; then a second plan keeps the weight.
pub type NotFinite = BTreeMap<String, usize>;

/// The decision about a tensor, with everything needed to carry it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The bytes stay; where adapters change the numbers, dtype and shape stay.
    Copy,
    /// The bytes stay under another name.
    Rename {
        /// The name in the output.
        name: String,
    },
    /// The numbers that the input's codes stand for.
    Decode {
        /// The dtype that they are stored as.
        dtype: PlainDtype,
    },
    /// The input's codes and scales in the output's layout.
    Repack {
        /// Grid and tiling.
        scheme: Scheme,
        /// How the layer may be multiplied.
        matmul_precision: MatmulPrecision,
        /// Whether the layer gets an activation scale from statistics.
        gets_input_scale: bool,
    },
    /// New codes and scales.
    Quantize {
        /// Grid and tiling.
        scheme: Scheme,
        /// How the layer may be multiplied.
        matmul_precision: MatmulPrecision,
        /// The number that the layer gets of its inputs, from statistics.
        input_scale: Option<InputScale>,
        /// The bias that is corrected for the error of the codes, and written with them.
        bias: Option<TensorHeader>,
        /// Rows that are worked on at once, where the weight is too large to be held whole.
        band_rows: Option<usize>,
        /// Whether the input has codes of this scheme, which stay: no others have a smaller error than none.
        keeps_codes: bool,
    },
    /// A bias that is written together with the codes of its weight.
    Correct,
    /// The output leaves the tensor out.
    Remove,
}

/// The name of a [`Decision`], as plans and reports write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The tensor becomes codes and scales.
    Quantize,
    /// The tensor keeps its bytes.
    Copy,
    /// The tensor keeps its bytes under another name.
    Rename,
    /// Codes of the input become plain numbers.
    Decode,
    /// Codes of the input are laid out anew.
    Repack,
    /// A bias is corrected.
    Correct,
    /// The tensor keeps its dtype, and adapters change its numbers.
    Merge,
    /// The tensor is left out.
    Remove,
}

/// A tensor of the input and what it becomes.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// Name, dtype and shape in the input.
    pub header: TensorHeader,
    /// Shape of the numbers that it stands for: another than the header's where codes are packed.
    pub shape: Vec<u64>,
    /// The decision.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// Whether adapters add something to its numbers.
    pub is_merged: bool,
    /// Whether the input holds codes of it, of whatever dtype.
    pub(crate) is_in_codes: bool,
    /// Whether they are another program's, which are decoded some rows at a time.
    pub(crate) is_foreign: bool,
    /// Whether the matrices of a bank of experts lie transposed, as the layout's programs have their numbers.
    pub(crate) is_transposed: bool,
}

impl PlannedTensor {
    /// Returns the name without `.weight`.
    pub fn layer(&self) -> &str {
        layer_of(&self.header.name)
    }

    /// Returns the name of the decision.
    pub fn action(&self) -> Action {
        match self.decision {
            Decision::Copy if self.is_merged => Action::Merge,
            Decision::Copy => Action::Copy,
            Decision::Rename { .. } => Action::Rename,
            Decision::Decode { .. } => Action::Decode,
            Decision::Repack { .. } => Action::Repack,
            Decision::Quantize { .. } => Action::Quantize,
            Decision::Correct => Action::Correct,
            Decision::Remove => Action::Remove,
        }
    }

    /// Returns the reason in words, adapters included.
    pub fn because(&self) -> String {
        match self.is_merged && self.decision != Decision::Remove {
            true => format!("{}; adapters are merged", self.reason),
            false => self.reason.to_string(),
        }
    }

    /// Returns the decision in a word or two: a scheme, a dtype, or what is done.
    pub fn becomes(&self) -> String {
        match &self.decision {
            Decision::Copy if self.is_merged => "kept, merged".to_owned(),
            Decision::Copy => "kept".to_owned(),
            Decision::Decode { dtype } => dtype.to_string(),
            Decision::Correct => "corrected".to_owned(),
            Decision::Remove => "removed".to_owned(),
            Decision::Rename { name } => format!("rename to {name}"),
            Decision::Quantize { scheme, .. } | Decision::Repack { scheme, .. } => {
                scheme.to_string()
            }
        }
    }

    /// Returns the output's name for the decoded numbers: that of the layer's weight where the
    /// input holds codes of one under any name.
    pub(crate) fn decoded_name(&self) -> String {
        // Codes of other programs have names of their own; the numbers are called as any weight is.
        match layer_of_weight(&self.header.name).filter(|_| self.is_in_codes) {
            Some(layer) => weight_of(layer),
            None => self.header.name.clone(),
        }
    }

    /// Returns whether its layer gets an activation scale, or it is one that stays.
    pub(crate) fn has_input_scale(&self) -> bool {
        let is_moved = matches!(self.decision, Decision::Copy | Decision::Rename { .. });
        self.input_scale_spec().is_some() || is_moved && self.reason == Reason::InputScale
    }

    /// Returns the activation scale that its layer gets.
    pub(crate) fn input_scale_spec(&self) -> Option<TensorSpec> {
        match self.decision {
            // One number without dimensions, as ComfyUI writes it.
            Decision::Repack { gets_input_scale: true, .. } => {
                let name = input_scale_of(self.layer());
                Some(TensorSpec { name, dtype: Dtype::F32, shape: vec![] })
            }
            Decision::Quantize { input_scale, .. } => input_scale.map(|it| it.spec(self.layer())),
            Decision::Repack { gets_input_scale: false, .. }
            | Decision::Copy
            | Decision::Rename { .. }
            | Decision::Decode { .. }
            | Decision::Correct
            | Decision::Remove => None,
        }
    }

    /// Returns the scheme of the codes that it becomes, and how its layer may be multiplied.
    pub(crate) fn codes(&self) -> Option<(Scheme, MatmulPrecision)> {
        match self.decision {
            Decision::Quantize { scheme, matmul_precision, .. }
            | Decision::Repack { scheme, matmul_precision, .. } => Some((scheme, matmul_precision)),
            Decision::Copy
            | Decision::Rename { .. }
            | Decision::Decode { .. }
            | Decision::Correct
            | Decision::Remove => None,
        }
    }

    /// Returns the scheme of the codes that it becomes.
    pub fn scheme(&self) -> Option<Scheme> {
        self.codes().map(|(scheme, _)| scheme)
    }

    /// Returns the number of rows that are worked on at once, where the weight is not held whole.
    pub(crate) fn band_rows(&self) -> Option<usize> {
        match self.decision {
            Decision::Quantize { band_rows, .. } => band_rows,
            _ => None,
        }
    }

    /// Returns whether it becomes codes that the input has.
    pub(crate) fn keeps_codes(&self) -> bool {
        matches!(self.decision, Decision::Quantize { keeps_codes: true, .. })
    }

    /// Notes the number of rows that are worked on at once, for a weight that becomes codes.
    pub(crate) fn set_band_rows(&mut self, rows: Option<usize>) {
        if let Decision::Quantize { band_rows, .. } = &mut self.decision {
            *band_rows = rows;
        }
    }

    /// Returns the shape of what becomes codes. Of a convolution, which becomes plain numbers only, all dimensions
    /// but the first are columns.
    pub(crate) fn layer_shape(&self) -> LayerShape {
        let is_scaled = self.scheme().is_some_and(Scheme::has_scales);
        let bank = bank_shape(&self.shape).filter(|_| is_scaled);
        let bank = bank.map(|bank| if self.is_transposed { bank.transposed() } else { bank });
        let matrix = || matrix_shape(&self.shape).map(LayerShape::from);
        bank.or_else(matrix).expect("the plan quantizes only matrices that were found to fit")
    }

    /// Returns the `[rows, cols]` of a matrix, or of each expert's.
    pub(crate) fn matrix_shape(&self) -> [usize; 2] {
        self.layer_shape().matrix
    }

    /// Returns how many matrices become codes, where it is a bank of experts.
    pub(crate) fn experts(&self) -> Option<usize> {
        self.scheme().and_then(|_| self.layer_shape().experts)
    }
}
