use std::ops::Range;

use burn_flex::Flex;
use burn_ndarray::NdArray;
use burn_tensor::Tensor;

use crate::{Matrix, place};

/// A matrix that lives on a device: `[rows, cols]`, `f32`.
///
/// Cloning copies no values. [`download`](Self::download) and the methods that take `self` move the
/// values when nothing else holds them and copy them otherwise.
///
/// # Panics
/// Every method panics when shapes do not fit or two matrices live on different devices: both are
/// mistakes of the calling program, not of its input.
#[derive(Debug, Clone)]
pub struct DeviceMatrix {
    held: Held,
}

#[derive(Debug, Clone)]
pub(crate) enum Held {
    Flex(Tensor<Flex, 2>),
    NdArray(Tensor<NdArray, 2>),
    #[cfg(feature = "cuda")]
    Cuda(Tensor<burn_cuda::Cuda, 2>),
}

/// The same expression on whichever tensor is held.
macro_rules! on {
    ($held:expr, $tensor:ident => $result:expr) => {
        match $held {
            Held::Flex($tensor) => $result,
            Held::NdArray($tensor) => $result,
            #[cfg(feature = "cuda")]
            Held::Cuda($tensor) => $result,
        }
    };
}

/// The same tensor-valued expression on whichever tensor, pair or triple of tensors is held.
macro_rules! map {
    ($held:expr, $tensor:ident => $result:expr) => {
        DeviceMatrix::of(match $held {
            Held::Flex($tensor) => Held::Flex($result),
            Held::NdArray($tensor) => Held::NdArray($result),
            #[cfg(feature = "cuda")]
            Held::Cuda($tensor) => Held::Cuda($result),
        })
    };
    ($left:expr, $right:expr, $a:ident, $b:ident => $result:expr) => {
        DeviceMatrix::of(match ($left, $right) {
            (Held::Flex($a), Held::Flex($b)) => Held::Flex($result),
            (Held::NdArray($a), Held::NdArray($b)) => Held::NdArray($result),
            #[cfg(feature = "cuda")]
            (Held::Cuda($a), Held::Cuda($b)) => Held::Cuda($result),
            _ => panic!("two matrices on different devices"),
        })
    };
    ($sum:expr, $left:expr, $right:expr, $s:ident, $a:ident, $b:ident => $result:expr) => {
        DeviceMatrix::of(match ($sum, $left, $right) {
            (Held::Flex($s), Held::Flex($a), Held::Flex($b)) => Held::Flex($result),
            (Held::NdArray($s), Held::NdArray($a), Held::NdArray($b)) => Held::NdArray($result),
            #[cfg(feature = "cuda")]
            (Held::Cuda($s), Held::Cuda($a), Held::Cuda($b)) => Held::Cuda($result),
            _ => panic!("three matrices on different devices"),
        })
    };
}

impl DeviceMatrix {
    pub(crate) fn of(held: Held) -> Self {
        Self { held }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        on!(&self.held, tensor => tensor.dims()[0])
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        on!(&self.held, tensor => tensor.dims()[1])
    }

    /// Takes the matrix back to the host.
    #[must_use]
    pub fn download(self) -> Matrix {
        let (rows, cols) = (self.rows(), self.cols());
        let values = on!(self.held, tensor => place::values(tensor));
        Matrix::new(rows, cols, values).expect("a tensor has as many values as its shape")
    }

    /// `self · right`: `[m, k] · [k, n] → [m, n]`.
    #[must_use]
    pub fn multiply(&self, right: &Self) -> Self {
        assert_eq!(self.cols(), right.rows(), "inner dimensions of a product");
        map!(&self.held, &right.held, a, b => place::Place::product(a.clone(), b.clone(), None))
    }

    /// [`multiply`](Self::multiply) in the memory of a matrix that is no longer needed, on a CPU when
    /// nothing else holds it.
    #[must_use]
    pub fn multiply_within(&self, right: &Self, memory: Self) -> Self {
        assert_eq!(self.cols(), right.rows(), "inner dimensions of a product");
        map!(memory.held, &self.held, &right.held, memory, a, b => {
            place::Place::product(a.clone(), b.clone(), Some(memory))
        })
    }

    /// [`multiply_transposed`](Self::multiply_transposed) in the memory of a matrix that is no longer
    /// needed, on a CPU when nothing else holds it.
    #[must_use]
    pub fn multiply_transposed_within(&self, right: &Self, memory: Self) -> Self {
        assert_eq!(self.cols(), right.cols(), "inner dimensions of a product");
        map!(memory.held, &self.held, &right.held, memory, a, b => {
            place::Place::product(a.clone(), b.clone().transpose(), Some(memory))
        })
    }

    /// `selfᵀ · right`: `[k, m]ᵀ · [k, n] → [m, n]`. The transposition costs nothing.
    #[must_use]
    pub fn transposed_multiply(&self, right: &Self) -> Self {
        assert_eq!(self.rows(), right.rows(), "inner dimensions of a product");
        map!(&self.held, &right.held, a, b => place::Place::product(a.clone().transpose(), b.clone(), None))
    }

    /// `self · rightᵀ`: `[m, k] · [n, k]ᵀ → [m, n]`. The transposition costs nothing.
    #[must_use]
    pub fn multiply_transposed(&self, right: &Self) -> Self {
        assert_eq!(self.cols(), right.cols(), "inner dimensions of a product");
        map!(&self.held, &right.held, a, b => place::Place::product(a.clone(), b.clone().transpose(), None))
    }

    /// `self · selfᵀ`, `[k, k]`; on a CPU for half the work of a product.
    #[must_use]
    pub fn gram(&self) -> Self {
        map!(&self.held, a => place::Place::gram(a))
    }

    /// `lower · self`: `[k, k] · [k, n] → [k, n]`, the first lower triangular, its zeros stored. In
    /// place on a CPU when nothing else holds the matrix.
    #[must_use]
    pub fn multiplied_by_lower(self, lower: &Self) -> Self {
        assert_eq!([self.rows(); 2], [lower.rows(), lower.cols()], "a triangular factor's sides");
        map!(&lower.held, self.held, a, b => place::Place::multiply_lower(a, b))
    }

    /// Adds `leftᵀ · right` to the rows from `first` on: `[k, m]ᵀ · [k, n] → [m, n]`. In place on a
    /// CPU when nothing else holds the matrix.
    pub fn add_transposed_product(&mut self, first: usize, left: &Self, right: &Self) {
        assert_eq!(left.rows(), right.rows(), "inner dimensions of a product");
        assert!(first + left.cols() <= self.rows(), "rows of a sum");
        assert_eq!(self.cols(), right.cols(), "columns of a sum");
        let sum = self.take();
        *self = map!(sum, &left.held, &right.held, sum, a, b => {
            place::Place::add_product(sum, first, a.clone().transpose(), b.clone())
        });
    }

    /// Sets every value to 0; in place on a CPU when nothing else holds the matrix.
    pub fn clear(&mut self) {
        *self = map!(self.take(), a => place::cleared(a));
    }

    /// What is held, with nothing left behind: values are changed in place only where nobody else
    /// holds them.
    fn take(&mut self) -> Held {
        let nothing = place::upload(Matrix::zeros(0, 0), &Default::default());
        std::mem::replace(&mut self.held, Held::Flex(nothing))
    }

    /// `self + factor · other`, in one pass.
    #[must_use]
    pub fn add_scaled(self, factor: f32, other: &Self) -> Self {
        assert_eq!((self.rows(), self.cols()), (other.rows(), other.cols()), "shapes of a sum");
        map!(self.held, &other.held, a, b => place::add_scaled(a, factor, b))
    }

    /// `factor · self`.
    #[must_use]
    pub fn scale(self, factor: f32) -> Self {
        map!(self.held, a => place::scale(a, factor))
    }

    /// `‖self‖²_F`; summed in `f64` on a CPU.
    #[must_use]
    pub fn squared_norm(&self) -> f64 {
        on!(&self.held, tensor => place::squared_norm(tensor))
    }

    /// Those columns; a view where the backend has views.
    #[must_use]
    pub fn column_block(&self, cols: Range<usize>) -> Self {
        map!(&self.held, a => place::narrowed(a, 1, cols))
    }

    /// Those rows; a view where the backend has views.
    #[must_use]
    pub fn row_block(&self, rows: Range<usize>) -> Self {
        map!(&self.held, a => place::narrowed(a, 0, rows))
    }

    /// Shows the values, row after row. No copy on [`Device::Cpu`](crate::Device::Cpu).
    pub fn read<R>(&self, reader: impl FnOnce(&[f32]) -> R) -> R {
        on!(&self.held, tensor => place::Place::read(tensor, reader))
    }

    /// Lets `change` work on the values, row after row, in place. No copy on a CPU when nothing
    /// else holds the matrix; on CUDA the values travel to the host and back.
    #[must_use]
    pub fn changed(self, change: impl FnOnce(&mut [f32])) -> Self {
        map!(self.held, tensor => place::changed(tensor, change))
    }
}
