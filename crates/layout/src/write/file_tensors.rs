use roundwise_scheme::{GridKind, Scheme};
use roundwise_tensor_file::{Dtype, TensorSpec};

use crate::layout::Layout;
use crate::legacy::{
    FULL_PRECISION_ELEMENTS, SCALE_FORMAT, SCALED_FP8, SCALED_FP16, log_range, scale_format,
};
use crate::matmul_precision::MatmulPrecision;

impl Layout {
    /// Returns the tensors that the layout adds to a file once.
    ///
    /// - `prefix`: start of the names of the model's tensors, e.g. `model.diffusion_model.`
    /// - `precision`: what a legacy file asks for once for all its layers; a marker of two elements
    ///   stands for full precision, an empty one for any precision
    /// - `schemes`: of the file's layers
    pub fn file_tensors(
        self,
        prefix: &str,
        precision: MatmulPrecision,
        schemes: &[Scheme],
    ) -> Vec<(TensorSpec, Vec<u8>)> {
        match self {
            Layout::Comfy
            | Layout::CompressedTensors
            | Layout::Fp8
            | Layout::ModelOpt
            | Layout::Mxfp4 => vec![],
            Layout::ComfyLegacy => legacy_tensors(prefix, precision, schemes),
        }
    }
}

fn legacy_tensors(
    prefix: &str,
    precision: MatmulPrecision,
    schemes: &[Scheme],
) -> Vec<(TensorSpec, Vec<u8>)> {
    // The value says nothing: the loader asks how many elements the marker has.
    let elements = match precision {
        MatmulPrecision::Any | MatmulPrecision::EightBits => 0,
        MatmulPrecision::Full => FULL_PRECISION_ELEMENTS as usize,
    };
    let tensor = |name: &str, dtype: Dtype, bytes: Vec<u8>| {
        // F8 and F16 alike: as many elements as the bytes make.
        let shape = vec![bytes.len() as u64 * 8 / dtype.bits()];
        (TensorSpec { name: format!("{prefix}{name}"), dtype, shape }, bytes)
    };
    let has = |grid| schemes.iter().any(|scheme| scheme.grid() == grid);
    let mut tensors = vec![];
    // A marker of one kind says nothing of the other, so that a file of both has both.
    if has(GridKind::E4m3) {
        // Zeros, where the published converters leave what was in memory: equal contents make equal
        // files.
        tensors.push(tensor(SCALED_FP8, Dtype::F8E4M3, vec![0; elements]));
    }
    if has(GridKind::F16) {
        tensors.push(tensor(SCALED_FP16, Dtype::F16, vec![0; 2 * elements]));
    }
    if let Some(range) = log_range(schemes) {
        tensors.push(tensor(SCALE_FORMAT, Dtype::U8, scale_format(range).to_vec()));
    }
    tensors
}
