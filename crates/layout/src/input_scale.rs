use roundwise_grid::{Bf16, E4m3, E8m0, Grid};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::{Dtype, TensorSpec};

use crate::layout::Layout;

/// The number that a file for servers holds of the inputs of a layer: programs then need not look for it
/// in every batch, and take inputs of NVFP4 as codes, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputScale {
    /// `input_scale`, a BF16 number `[1]` that multiplies E4M3 codes.
    OfTensor,
    /// `input_scale`, an F32 number that multiplies E4M3 codes.
    Number,
    /// `input_global_scale`, an F32 number `[1]` that divides the E4M3 scales of 16 inputs of E2M1.
    Divisor,
    /// `input_scale`, an F32 number that multiplies them.
    Factor,
}

/// Largest input over the factor of all scales: the largest scale of 16 inputs times the largest code.
const LARGEST_IN_TWO_LEVELS: f32 = 448.0 * 6.0;

impl Layout {
    /// Returns the number that files hold of the inputs of a layer in some scheme, where the layout has a
    /// place for one.
    pub fn input_scale(self, scheme: Scheme) -> Option<InputScale> {
        let scheme = scheme.read_as();
        let is_fp8 = scheme == Scheme::FP8;
        match self {
            Layout::CompressedTensors if is_fp8 => Some(InputScale::OfTensor),
            Layout::ModelOpt if is_fp8 => Some(InputScale::Number),
            Layout::CompressedTensors if scheme == Scheme::NVFP4 => Some(InputScale::Divisor),
            Layout::ModelOpt if scheme == Scheme::NVFP4 => Some(InputScale::Factor),
            Layout::Comfy
            | Layout::ComfyLegacy
            | Layout::CompressedTensors
            | Layout::Fp8
            | Layout::ModelOpt
            | Layout::Mxfp4 => None,
        }
    }

    /// Returns whether programs open a layer in some scheme only with such a number.
    ///
    /// # Source
    /// `resolve` in vLLM's `modelopt.py`: inputs of `FP8` have no way but the stored scale.
    pub fn needs_input_scale(self, scheme: Scheme) -> bool {
        self.input_scale(scheme) == Some(InputScale::Number)
    }
}

impl InputScale {
    /// Returns the tensor of a layer.
    pub fn spec(self, layer: &str) -> TensorSpec {
        let (part, dtype, shape) = match self {
            InputScale::OfTensor => ("input_scale", Dtype::BF16, vec![1]),
            InputScale::Divisor => ("input_global_scale", Dtype::F32, vec![1]),
            InputScale::Factor | InputScale::Number => ("input_scale", Dtype::F32, vec![]),
        };
        TensorSpec { name: format!("{layer}.{part}"), dtype, shape }
    }

    /// Returns its bytes for inputs up to a magnitude, none of which is cut off.
    ///
    /// Of E4M3 codes `largest / 448`, in BF16 the least number from there on; of NVFP4 the least power of two from
    /// `largest / 2688` on, or its inverse. Inputs that are all 0 have 1.
    pub fn bytes(self, largest: f32) -> Vec<u8> {
        match self {
            InputScale::OfTensor => {
                let scale = largest / E4m3::MAX;
                let nearest = Bf16::round(scale);
                let least = if nearest < scale { Bf16::above(nearest) } else { nearest };
                let least = if least.is_normal() { least } else { 1.0 };
                Bf16::encode(least).to_le_bytes().to_vec()
            }
            InputScale::Number => {
                let scale = largest / E4m3::MAX;
                let scale = if scale.is_normal() { scale } else { 1.0 };
                scale.to_le_bytes().to_vec()
            }
            InputScale::Divisor => power(largest).recip().to_le_bytes().to_vec(),
            InputScale::Factor => power(largest).to_le_bytes().to_vec(),
        }
    }
}

/// A power of two, so that programs which multiply by it and those which divide by its inverse get the
/// same numbers.
fn power(largest: f32) -> f32 {
    E8m0::at_least(largest / LARGEST_IN_TWO_LEVELS).map_or(1.0, E8m0::decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_input_is_cut_off() {
        for largest in [1e-30_f32, 0.3, 1.0, 447.9, 448.1, 2688.0, 2688.1, 60000.0] {
            let bytes = InputScale::OfTensor.bytes(largest);
            let scale = Bf16::decode(u16::from_le_bytes([bytes[0], bytes[1]]));
            assert!(scale * 448.0 >= largest && scale * 448.0 <= largest * 1.01, "{largest}");
            let number =
                |scale: InputScale| f32::from_le_bytes(scale.bytes(largest).try_into().unwrap());
            let multiplied = number(InputScale::Number) * 448.0;
            assert!((multiplied / largest - 1.0).abs() <= f32::EPSILON, "{largest}");
            let factor = number(InputScale::Factor);
            assert!(factor * LARGEST_IN_TWO_LEVELS >= largest, "{largest}");
            assert!(factor * LARGEST_IN_TWO_LEVELS < 2.0 * largest, "{largest}");
            assert_eq!(number(InputScale::Divisor) * factor, 1.0);
        }
        assert_eq!(InputScale::Factor.bytes(0.0), 1.0_f32.to_le_bytes());
        assert_eq!(InputScale::Number.bytes(0.0), 1.0_f32.to_le_bytes());
        assert_eq!(InputScale::OfTensor.bytes(0.0), Bf16::encode(1.0).to_le_bytes());
    }
}
