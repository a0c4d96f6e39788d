use half::f16;
use roundwise_grid::{F16, measure};
use roundwise_scheme::{QuantizedMatrix, WeightError};

use crate::recipe::PlainDtype;
use crate::report::TensorReport;

/// The error of numbers that become F16, which has no room for the largest and the smallest. BF16 and F32 have room
/// for whatever is decoded, and are not measured.
pub(crate) struct Narrowing {
    error: Option<WeightError>,
    stored: Vec<u16>,
}

impl Narrowing {
    pub(crate) fn of(dtype: PlainDtype) -> Self {
        let error = (dtype == PlainDtype::F16).then(WeightError::default);
        Self { error, stored: vec![] }
    }

    /// Adds numbers and the bytes that they became.
    pub(crate) fn add(&mut self, values: &[f32], bytes: &[u8]) {
        let Some(error) = &mut self.error else { return };
        let (stored, _) = bytes.as_chunks::<2>();
        self.stored.clear();
        self.stored.extend(stored.iter().map(|stored| u16::from_le_bytes(*stored)));
        let squares = measure::<F16>(values, 1.0, &self.stored);
        // A NaN or an infinity stays one, and is told by itself.
        let (error_squared, weight_squared) = match squares.value.is_finite() {
            true => (squares.error, squares.value),
            false => finite_squares(values, &self.stored),
        };
        error.error_squared += error_squared;
        error.weight_squared += weight_squared;
    }

    /// Adds a matrix of codes and the bytes that it became.
    pub(crate) fn add_matrix(&mut self, matrix: &QuantizedMatrix, bytes: &[u8]) {
        if self.error.is_none() {
            return;
        }
        let [rows, cols] = matrix.shape();
        let mut values = vec![0.0; cols];
        for (row, bytes) in (0..rows).zip(bytes.chunks((cols * PlainDtype::F16.width()).max(1))) {
            matrix.decode_row(row, &mut values);
            self.add(&values, bytes);
        }
    }

    /// Puts the error into the tensor's report.
    pub(crate) fn tell(&self, report: &mut TensorReport) {
        if let Some(error) = self.error {
            report.measure_narrowing(error);
        }
    }
}

/// Returns the sums of squares, of errors and of values, of those numbers that are finite.
fn finite_squares(values: &[f32], stored: &[u16]) -> (f64, f64) {
    let finite = values.iter().zip(stored).filter(|(value, _)| value.is_finite());
    finite.fold((0.0, 0.0), |(errors, squares), (value, stored)| {
        let (value, stored) = (f64::from(*value), f64::from(f16::from_bits(*stored).to_f32()));
        (errors + (stored - value).powi(2), squares + value.powi(2))
    })
}
