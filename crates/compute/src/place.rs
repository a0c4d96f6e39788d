//! The operations that a backend has to offer; everything above chooses a backend by a match.

use std::ops::Range;

#[cfg(feature = "cuda")]
pub(crate) use burn_cuda::Cuda;
pub(crate) use burn_flex::Flex;
use burn_flex::FlexTensor;
pub(crate) use burn_ndarray::NdArray;
use burn_tensor::backend::Backend;
use burn_tensor::{Tensor, TensorData, TensorPrimitive};
#[cfg(feature = "vulkan")]
pub(crate) use burn_wgpu::Vulkan as Wgpu;
use faer::{Accum, MatRef};

use crate::{Matrix, elementwise, host_product};

/// A backend, and whether it keeps tensors in the host's memory.
pub(crate) trait Operations: Backend {
    /// Whether element-wise work is done by a fused loop over the host slice under the tensor.
    ///
    /// burn's own element-wise operations on a CPU run on one thread and allocate each time: a sum
    /// of two 3072² matrices costs 7 ms, as much as a thin product.
    const IS_HOST: bool;

    /// Passes the values to `reader`, row after row, without a copy where the backend can.
    fn read<R>(tensor: &Tensor<Self, 2>, reader: impl FnOnce(&[f32]) -> R) -> R {
        reader(&values(tensor.clone()))
    }

    /// Computes `left · right`, in the memory of a tensor that is no longer needed where it can.
    fn product(
        left: Tensor<Self, 2>,
        right: Tensor<Self, 2>,
        memory: Option<Tensor<Self, 2>>,
    ) -> Tensor<Self, 2> {
        drop(memory);
        left.matmul(right)
    }

    /// Computes `wide · wideᵀ`.
    fn gram(wide: &Tensor<Self, 2>) -> Tensor<Self, 2> {
        wide.clone().matmul(wide.clone().transpose())
    }

    /// Computes `lower · wide`, `lower` being lower triangular.
    fn multiply_lower(lower: &Tensor<Self, 2>, wide: Tensor<Self, 2>) -> Tensor<Self, 2> {
        lower.clone().matmul(wide)
    }

    /// Adds `left · right` to the rows of `sum` from `first` on.
    fn add_product(
        sum: Tensor<Self, 2>,
        first: usize,
        left: Tensor<Self, 2>,
        right: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let place = [first..first + left.dims()[0], 0..right.dims()[1]];
        let part = sum.clone().slice(place.clone()) + left.matmul(right);
        sum.slice_assign(place, part)
    }
}

impl Operations for Flex {
    const IS_HOST: bool = true;

    fn read<R>(tensor: &Tensor<Self, 2>, reader: impl FnOnce(&[f32]) -> R) -> R {
        let flex = flex(tensor).to_contiguous();
        let start = flex.layout().start_offset();
        let length = flex.layout().num_elements();
        reader(&flex.storage::<f32>()[start..start + length])
    }

    fn product(
        left: Tensor<Self, 2>,
        right: Tensor<Self, 2>,
        memory: Option<Tensor<Self, 2>>,
    ) -> Tensor<Self, 2> {
        if is_deep_transposed(&left) {
            drop(memory);
            return left.matmul(right);
        }
        let (device, shape) = (left.device(), [left.dims()[0], right.dims()[1]]);
        let length = shape[0] * shape[1];
        let mut product = match memory {
            Some(memory) => values(memory),
            None => vec![0.0; length],
        };
        // All of it is replaced, whatever the memory held.
        product.resize(length, 0.0);
        let (left, right) = (flex(&left), flex(&right));
        host_product::product(&mut product, Accum::Replace, view(&left), view(&right));
        Tensor::from_data(TensorData::new(product, shape), &device)
    }

    fn gram(wide: &Tensor<Self, 2>) -> Tensor<Self, 2> {
        let (side, device) = (wide.dims()[0], wide.device());
        let gram = host_product::gram(view(&flex(wide)));
        upload(Matrix::new(side, side, gram).expect("k · k values"), &device)
    }

    fn multiply_lower(lower: &Tensor<Self, 2>, wide: Tensor<Self, 2>) -> Tensor<Self, 2> {
        changed(wide, |wide| host_product::multiply_lower(view(&flex(lower)), wide))
    }

    fn add_product(
        sum: Tensor<Self, 2>,
        first: usize,
        left: Tensor<Self, 2>,
        right: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        if is_deep_transposed(&left) {
            return add_to_rows(sum, first, &left.matmul(right));
        }
        let cols = right.dims()[1];
        let place = first * cols..(first + left.dims()[0]) * cols;
        let (left, right) = (flex(&left), flex(&right));
        changed(sum, |sum| {
            host_product::product(&mut sum[place], Accum::Add, view(&left), view(&right));
        })
    }
}

fn flex(tensor: &Tensor<Flex, 2>) -> FlexTensor {
    match tensor.clone().into_primitive() {
        TensorPrimitive::Float(flex) => flex,
        TensorPrimitive::QFloat(_) => unreachable!("only f32 tensors are made here"),
    }
}

fn view(flex: &FlexTensor) -> MatRef<'_, f32> {
    let layout = flex.layout();
    let stride =
        |axis: usize| usize::try_from(layout.strides()[axis]).expect("nothing is reversed");
    let shape = [layout.shape()[0], layout.shape()[1]];
    host_product::view(flex.storage(), layout.start_offset(), shape, [stride(0), stride(1)])
}

/// Returns whether a left factor has contiguous columns, long ones and many: faer would read one
/// value of each cache line, where burn packs the factor first.
fn is_deep_transposed(left: &Tensor<Flex, 2>) -> bool {
    const DEEP: usize = 512;
    let stride = flex(left).layout().strides()[1];
    stride != 1 && left.dims().iter().all(|&size| size > DEEP)
}

impl Operations for NdArray {
    const IS_HOST: bool = true;
}

#[cfg(feature = "cuda")]
impl Operations for Cuda {
    const IS_HOST: bool = false;
}

/// Vulkan, and Metal on macOS: burn has one type for both.
#[cfg(feature = "vulkan")]
impl Operations for Wgpu {
    const IS_HOST: bool = false;
}

/// Moves a matrix into a tensor.
pub(crate) fn upload<B: Backend>(matrix: Matrix, device: &B::Device) -> Tensor<B, 2> {
    let shape = [matrix.rows(), matrix.cols()];
    Tensor::from_data(TensorData::new(matrix.into_values(), shape), device)
}

/// Takes the values out of a tensor; copies them only where the memory is shared or a device's.
pub(crate) fn values<B: Backend>(tensor: Tensor<B, 2>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("every tensor made here holds f32")
}

/// Lets `change` work on the values in place; those of a device travel to the host and back.
pub(crate) fn changed<B: Operations>(
    tensor: Tensor<B, 2>,
    change: impl FnOnce(&mut [f32]),
) -> Tensor<B, 2> {
    let (shape, device) = (tensor.dims(), tensor.device());
    let mut values = values(tensor);
    change(&mut values);
    Tensor::from_data(TensorData::new(values, shape), &device)
}

/// Returns some rows or columns. burn refuses a view of nothing, even of an empty matrix.
pub(crate) fn narrowed<B: Operations>(
    a: &Tensor<B, 2>,
    axis: usize,
    part: Range<usize>,
) -> Tensor<B, 2> {
    let is_all = part == (0..a.dims()[axis]);
    if is_all { a.clone() } else { a.clone().narrow(axis, part.start, part.len()) }
}

/// Computes `a + factor · b`.
pub(crate) fn add_scaled<B: Operations>(
    a: Tensor<B, 2>,
    factor: f32,
    b: &Tensor<B, 2>,
) -> Tensor<B, 2> {
    if B::IS_HOST {
        B::read(b, |b| changed(a, |a| elementwise::add_scaled(a, factor, b)))
    } else {
        a + b.clone().mul_scalar(factor)
    }
}

/// Adds `part` to the rows of `sum` from `first` on.
pub(crate) fn add_to_rows<B: Operations>(
    sum: Tensor<B, 2>,
    first: usize,
    part: &Tensor<B, 2>,
) -> Tensor<B, 2> {
    let [rows, cols] = part.dims();
    let place = first * cols..(first + rows) * cols;
    B::read(part, |part| changed(sum, |sum| elementwise::add_scaled(&mut sum[place], 1.0, part)))
}

/// Sets every value to 0.
pub(crate) fn cleared<B: Operations>(a: Tensor<B, 2>) -> Tensor<B, 2> {
    if B::IS_HOST { changed(a, |a| a.fill(0.0)) } else { a.zeros_like() }
}

/// Computes `factor · a`.
pub(crate) fn scale<B: Operations>(a: Tensor<B, 2>, factor: f32) -> Tensor<B, 2> {
    if B::IS_HOST { changed(a, |a| elementwise::scale(a, factor)) } else { a.mul_scalar(factor) }
}

/// Computes `Σ a²`.
pub(crate) fn squared_norm<B: Operations>(a: &Tensor<B, 2>) -> f64 {
    if B::IS_HOST {
        B::read(a, elementwise::squared_norm)
    } else {
        f64::from(values((a.clone() * a.clone()).sum().reshape([1, 1]))[0])
    }
}
