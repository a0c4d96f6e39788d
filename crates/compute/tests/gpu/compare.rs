//! How near what two devices compute has to be, and is.

use roundwise_compute::{Device, Engine, Matrix};

use crate::operations::{Operation, Precision};

/// `f32` sums of up to some hundred products in any order, over the largest value: each rounds by 6e-8.
const SUMMED: f32 = 2e-5;
/// Factors of products as TF32, with 10 bits after the point, which CUDA may take.
const SUMMED_TF32: f32 = 4e-3;
/// A multiplication and an addition, or both at once.
const ROUNDED: f32 = 4e-7;
/// How much further than a sum what follows from several products may be off.
const STEPS: f32 = 10.0;

pub(crate) fn tolerance(device: Device, precision: Precision) -> f32 {
    let summed = match device {
        Device::Cuda(_) => SUMMED_TF32,
        Device::Auto | Device::Cpu | Device::NdArray | Device::Vulkan(_) | Device::Metal(_) => {
            SUMMED
        }
    };
    match precision {
        Precision::Exact => 0.0,
        Precision::Rounded => ROUNDED,
        Precision::Summed => summed,
        Precision::Iterated => STEPS * summed,
    }
}

pub(crate) fn computed(engine: &Engine, operation: &Operation) -> Matrix {
    let operands = operation.operands.iter().map(|operand| engine.upload(operand.clone()));
    let operands: Vec<_> = operands.collect();
    (operation.compute)(engine, &operands).download()
}

/// Returns the largest difference over the largest value.
pub(crate) fn difference(found: &Matrix, expected: &Matrix) -> f32 {
    assert_eq!((found.rows(), found.cols()), (expected.rows(), expected.cols()));
    let largest = expected.values().iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let pairs = found.values().iter().zip(expected.values());
    let differences = pairs.map(|(found, expected)| match (found - expected).abs() {
        // `max` would pass over it.
        difference if difference.is_nan() => f32::INFINITY,
        difference => difference,
    });
    differences.fold(0.0, f32::max) / largest.max(f32::MIN_POSITIVE)
}
