use std::ops::Range;
use std::sync::Arc;

use crate::backend::{Held, map, map_list, on, on_list, with_backends};
use crate::usage::{Room, UsageCounter};
use crate::{Matrix, place};

/// A matrix on a device: `[rows, cols]`, `f32`.
///
/// Cloning copies no values. [`download`](Self::download) and the methods that take `self` move the
/// values when nothing else holds them and copy them otherwise.
///
/// # Panics
/// Every method panics when shapes do not fit or two matrices are on different devices. Both are
/// bugs of the calling program, whatever its input.
#[derive(Debug, Clone)]
pub struct DeviceMatrix {
    held: Held,
    /// What it takes on the device, with its clones and views.
    room: Arc<Room>,
}

impl DeviceMatrix {
    pub(crate) fn of(held: Held, room: Arc<Room>) -> Self {
        Self { held, room }
    }

    /// Returns the counters of its engine.
    pub(crate) fn usage(&self) -> &Arc<UsageCounter> {
        &self.room.usage
    }

    /// Returns a view of the matrix.
    fn view(&self, held: Held) -> Self {
        Self { held, room: Arc::clone(&self.room) }
    }

    /// Returns the matrix with its tensor replaced. Where others hold the memory it is copied.
    fn with(mut self, change: impl FnOnce(Held) -> Held) -> Self {
        self.take_own_room();
        Self { held: change(self.held), room: self.room }
    }

    /// Takes room for a copy, where the matrix shares its memory.
    fn take_own_room(&mut self) {
        if Arc::strong_count(&self.room) > 1 {
            self.room = self.usage().reserve(self.rows() * self.cols());
        }
    }

    /// Returns a view with rows and columns exchanged.
    fn turned(&self) -> Self {
        self.view(map!(&self.held, a => a.clone().transpose()))
    }

    fn count_download(&self) {
        self.usage().downloaded(self.rows() * self.cols());
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        on!(&self.held, tensor => tensor.dims()[0])
    }

    /// Returns the number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        on!(&self.held, tensor => tensor.dims()[1])
    }

    /// Moves the matrix to the host.
    #[must_use]
    pub fn download(self) -> Matrix {
        self.count_download();
        let (rows, cols) = (self.rows(), self.cols());
        let values = on!(self.held, tensor => place::values(tensor));
        Matrix::new(rows, cols, values).expect("a tensor has as many values as its shape")
    }

    /// Computes `self · right`: `[m, k] · [k, n] → [m, n]`.
    #[must_use]
    pub fn multiply(&self, right: &Self) -> Self {
        self.product(right, None)
    }

    /// Computes `self · right` in the memory of a matrix that is no longer needed.
    ///
    /// The memory is used on a CPU when nothing else holds it; otherwise this is
    /// [`multiply`](Self::multiply).
    #[must_use]
    pub fn multiply_within(&self, right: &Self, memory: Self) -> Self {
        self.product(right, Some(memory))
    }

    /// Computes `self · rightᵀ` in the memory of a matrix that is no longer needed.
    ///
    /// The memory is used on a CPU when nothing else holds it; otherwise this is
    /// [`multiply_transposed`](Self::multiply_transposed).
    #[must_use]
    pub fn multiply_transposed_within(&self, right: &Self, memory: Self) -> Self {
        self.product(&right.turned(), Some(memory))
    }

    /// Computes `selfᵀ · right`: `[k, m]ᵀ · [k, n] → [m, n]`. The transposition costs nothing.
    #[must_use]
    pub fn transposed_multiply(&self, right: &Self) -> Self {
        self.turned().product(right, None)
    }

    /// Computes `self · rightᵀ`: `[m, k] · [n, k]ᵀ → [m, n]`. The transposition costs nothing.
    #[must_use]
    pub fn multiply_transposed(&self, right: &Self) -> Self {
        self.product(&right.turned(), None)
    }

    fn product(&self, right: &Self, memory: Option<Self>) -> Self {
        // Its room becomes the product's.
        let memory = memory.map(|memory| memory.held);
        let room = self.room_of_product(right);
        let held = match (self.product_in_tiles(right), memory) {
            (Some(held), _) => held,
            (None, None) => map!(&self.held, &right.held, a, b => {
                place::Operations::product(a.clone(), b.clone(), None)
            }),
            (None, Some(memory)) => map!(memory, &self.held, &right.held, memory, a, b => {
                place::Operations::product(a.clone(), b.clone(), Some(memory))
            }),
        };
        Self { held, room }
    }

    /// Counts `self · right`, and takes the room that it needs.
    fn room_of_product(&self, right: &Self) -> Arc<Room> {
        assert_eq!(self.cols(), right.rows(), "inner dimensions of a product");
        self.usage().multiplied(self.rows(), self.cols(), right.cols());
        self.usage().reserve(self.rows() * right.cols())
    }

    /// Computes `self · right` where the matrices are on the host for want of room on the device.
    fn product_in_tiles(&self, right: &Self) -> Option<Held> {
        let tiles = self.usage().tiles.as_ref()?;
        Some(Held::Flex(place::upload(tiles.product(self, right), &Default::default())))
    }

    /// Computes `self · selfᵀ`, `[k, k]`. On a CPU this is half the work of a product.
    #[must_use]
    pub fn gram(&self) -> Self {
        let turned = self.turned();
        let room = self.room_of_product(&turned);
        let held = self.product_in_tiles(&turned);
        let held = held.unwrap_or_else(|| map!(&self.held, a => place::Operations::gram(a)));
        Self { held, room }
    }

    /// Computes `lower · self`: `[k, k] · [k, n] → [k, n]`.
    ///
    /// `lower` is lower triangular and stores its zeros. Works in place on a CPU when nothing else
    /// holds the matrix.
    #[must_use]
    pub fn multiplied_by_lower(self, lower: &Self) -> Self {
        assert_eq!([self.rows(); 2], [lower.rows(), lower.cols()], "a triangular factor's sides");
        let room = lower.room_of_product(&self);
        let held = match lower.product_in_tiles(&self) {
            Some(held) => held,
            None => map!(&lower.held, self.held, a, b => place::Operations::multiply_lower(a, b)),
        };
        Self { held, room }
    }

    /// Adds `leftᵀ · right` to the rows from `first` on: `[k, m]ᵀ · [k, n] → [m, n]`.
    ///
    /// Works in place on a CPU when nothing else holds the matrix.
    pub fn add_transposed_product(&mut self, first: usize, left: &Self, right: &Self) {
        assert!(first + left.cols() <= self.rows(), "rows of a sum");
        assert_eq!(self.cols(), right.cols(), "columns of a sum");
        let left = left.turned();
        // Until it is added.
        let _room = left.room_of_product(right);
        let product = left.product_in_tiles(right);
        let sum = self.take();
        self.held = match product {
            Some(product) => map!(sum, &product, sum, a => place::add_to_rows(sum, first, a)),
            None => map!(sum, &left.held, &right.held, sum, a, b => {
                place::Operations::add_product(sum, first, a.clone(), b.clone())
            }),
        };
    }

    /// Sets every value to 0, in place on a CPU when nothing else holds the matrix.
    pub fn clear(&mut self) {
        self.held = map!(self.take(), a => place::cleared(a));
    }

    /// Takes the tensor out and leaves an empty one: values are changed in place only where nothing
    /// else holds them.
    fn take(&mut self) -> Held {
        self.take_own_room();
        // A CPU tensor whatever the backend: it costs nothing, and the caller replaces it at once.
        let nothing = place::upload(Matrix::zeros(0, 0), &Default::default());
        std::mem::replace(&mut self.held, Held::Flex(nothing))
    }

    /// Computes `self + factor · other` in one pass.
    #[must_use]
    pub fn add_scaled(self, factor: f32, other: &Self) -> Self {
        assert_eq!((self.rows(), self.cols()), (other.rows(), other.cols()), "shapes of a sum");
        self.with(|held| map!(held, &other.held, a, b => place::add_scaled(a, factor, b)))
    }

    /// Computes `factor · self`.
    #[must_use]
    pub fn scale(self, factor: f32) -> Self {
        self.with(|held| map!(held, a => place::scale(a, factor)))
    }

    /// Computes `‖self‖²_F`, summed in `f64` on a CPU.
    #[must_use]
    pub fn squared_norm(&self) -> f64 {
        self.usage().downloaded(1);
        on!(&self.held, tensor => place::squared_norm(tensor))
    }

    /// Returns some columns, as a view where the backend has views.
    #[must_use]
    pub fn column_block(&self, cols: Range<usize>) -> Self {
        self.view(map!(&self.held, a => place::narrowed(a, 1, cols)))
    }

    /// Returns some rows, as a view where the backend has views.
    #[must_use]
    pub fn row_block(&self, rows: Range<usize>) -> Self {
        self.view(map!(&self.held, a => place::narrowed(a, 0, rows)))
    }

    /// Passes the values to `reader`, row after row. Copies nothing on
    /// [`Device::Cpu`](crate::Device::Cpu).
    pub fn read<R>(&self, reader: impl FnOnce(&[f32]) -> R) -> R {
        self.count_download();
        on!(&self.held, tensor => place::Operations::read(tensor, reader))
    }

    /// Lets `change` work on the values, row after row, in place.
    ///
    /// Copies nothing on a CPU when nothing else holds the matrix; those of a GPU travel to the host
    /// and back.
    #[must_use]
    pub fn changed(self, change: impl FnOnce(&mut [f32])) -> Self {
        self.count_download();
        self.usage().uploaded(self.rows() * self.cols());
        self.with(|held| map!(held, tensor => place::changed(tensor, change)))
    }
}
