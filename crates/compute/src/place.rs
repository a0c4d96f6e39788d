//! The few operations, generic over the backend; everything above chooses one by a match.

use burn_flex::Flex;
use burn_ndarray::NdArray;
use burn_tensor::backend::Backend;
use burn_tensor::{Tensor, TensorData, TensorPrimitive};

use crate::{Matrix, elementwise};

/// A backend, and whether its memory is the host's.
pub(crate) trait Place: Backend {
    /// Whether element-wise work belongs into a fused loop over the host slice under the tensor.
    ///
    /// burn's own element-wise operations on a CPU run on one thread and allocate each time: a sum
    /// of two 3072² matrices costs 7 ms, as much as a thin product.
    const IS_HOST: bool;

    /// Shows the values, row after row; without a copy where the backend can.
    fn read<R>(tensor: &Tensor<Self, 2>, reader: impl FnOnce(&[f32]) -> R) -> R {
        reader(&values(tensor.clone()))
    }
}

impl Place for Flex {
    const IS_HOST: bool = true;

    fn read<R>(tensor: &Tensor<Self, 2>, reader: impl FnOnce(&[f32]) -> R) -> R {
        match tensor.clone().into_primitive() {
            TensorPrimitive::Float(flex) => {
                let flex = flex.to_contiguous();
                let start = flex.layout().start_offset();
                let length = flex.layout().num_elements();
                reader(&flex.storage::<f32>()[start..start + length])
            }
            TensorPrimitive::QFloat(_) => unreachable!("only f32 tensors are made here"),
        }
    }
}

impl Place for NdArray {
    const IS_HOST: bool = true;
}

#[cfg(feature = "cuda")]
impl Place for burn_cuda::Cuda {
    const IS_HOST: bool = false;
}

/// Moves the values under a tensor.
pub(crate) fn upload<B: Backend>(matrix: Matrix, device: &B::Device) -> Tensor<B, 2> {
    let shape = [matrix.rows(), matrix.cols()];
    Tensor::from_data(TensorData::new(matrix.into_values(), shape), device)
}

/// The values of a tensor; moved, not copied, when it is uniquely owned host memory.
pub(crate) fn values<B: Backend>(tensor: Tensor<B, 2>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("every tensor made here holds f32")
}

/// Lets `change` work on the values in place; over the bus and back where they are not the host's.
pub(crate) fn changed<B: Place>(
    tensor: Tensor<B, 2>,
    change: impl FnOnce(&mut [f32]),
) -> Tensor<B, 2> {
    let (shape, device) = (tensor.dims(), tensor.device());
    let mut values = values(tensor);
    change(&mut values);
    Tensor::from_data(TensorData::new(values, shape), &device)
}

/// `a + factor · b`.
pub(crate) fn add_scaled<B: Place>(a: Tensor<B, 2>, factor: f32, b: &Tensor<B, 2>) -> Tensor<B, 2> {
    if B::IS_HOST {
        B::read(b, |b| changed(a, |a| elementwise::add_scaled(a, factor, b)))
    } else {
        a + b.clone().mul_scalar(factor)
    }
}

/// `factor · a`.
pub(crate) fn scale<B: Place>(a: Tensor<B, 2>, factor: f32) -> Tensor<B, 2> {
    if B::IS_HOST { changed(a, |a| elementwise::scale(a, factor)) } else { a.mul_scalar(factor) }
}

/// `a ∘ b`, value by value.
pub(crate) fn times<B: Place>(a: Tensor<B, 2>, b: &Tensor<B, 2>) -> Tensor<B, 2> {
    if B::IS_HOST {
        B::read(b, |b| changed(a, |a| elementwise::times(a, b)))
    } else {
        a * b.clone()
    }
}

/// `Σ a²`.
pub(crate) fn squared_norm<B: Place>(a: &Tensor<B, 2>) -> f64 {
    if B::IS_HOST {
        B::read(a, elementwise::squared_norm)
    } else {
        f64::from(values((a.clone() * a.clone()).sum().reshape([1, 1]))[0])
    }
}
