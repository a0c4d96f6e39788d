//! Numbers between Python and here. Arrays arrive as bytes with a dtype and a shape; `_array.py` reads
//! them by the buffer protocol or DLPack.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use roundwise_convert::rounding::RoundingError;
use roundwise_convert::scheme::{FloatDtype, Weight};

/// A matrix that Python holds: dtype, rows, columns, bytes.
#[derive(FromPyObject)]
pub(crate) struct Array<'py>(String, usize, usize, Bound<'py, PyBytes>);

impl<'py> Array<'py> {
    /// Returns the matrix as it is rounded.
    pub(crate) fn weight(&self) -> Result<Weight<'_>, RoundingError> {
        let Self(dtype, rows, cols, bytes) = self;
        let kind = match dtype.as_str() {
            "float64" => FloatDtype::F64,
            "float32" => FloatDtype::F32,
            "float16" => FloatDtype::F16,
            // `_array.py` hands on four dtypes and refuses all others.
            _ => FloatDtype::BF16,
        };
        Ok(Weight::new(*rows, *cols, kind, bytes.as_bytes())?)
    }
}

/// Returns bytes as an array of Python's own, which numpy and torch take without a copy.
///
/// - `format`: of an entry, as the module `struct` writes it
pub(crate) fn view<'py>(
    py: Python<'py>,
    bytes: &[u8],
    format: &str,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let view = PyMemoryView::from(PyBytes::new(py, bytes).as_any())?;
    view.call_method1("cast", (format, shape.to_vec()))
}

/// Returns the bytes of numbers in the order of this machine, in which Python reads a memoryview.
pub(crate) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}
