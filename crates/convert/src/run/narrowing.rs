use half::f16;
use roundwise_scheme::{QuantizedMatrix, WeightError};

use crate::recipe::PlainDtype;
use crate::report::TensorReport;

/// The error of numbers that become F16, which has no room for the largest and the smallest. BF16 and F32 have room
/// for whatever is decoded, and are not measured.
pub(crate) struct Narrowing(Option<WeightError>);

impl Narrowing {
    pub(crate) fn of(dtype: PlainDtype) -> Self {
        Self((dtype == PlainDtype::F16).then(WeightError::default))
    }

    /// Adds numbers and the bytes that they became.
    pub(crate) fn add(&mut self, values: &[f32], bytes: &[u8]) {
        let Some(error) = &mut self.0 else { return };
        let (stored, _) = bytes.as_chunks::<2>();
        for (value, stored) in values.iter().zip(stored) {
            // A NaN or an infinity stays one, and is told by itself.
            if value.is_finite() {
                let value = f64::from(*value);
                let stored = f64::from(f16::from_le_bytes(*stored).to_f32());
                error.error_squared += (stored - value).powi(2);
                error.weight_squared += value.powi(2);
            }
        }
    }

    /// Adds a matrix of codes and the bytes that it became.
    pub(crate) fn add_matrix(&mut self, matrix: &QuantizedMatrix, bytes: &[u8]) {
        if self.0.is_none() {
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
        if let Some(error) = self.0 {
            report.measure_narrowing(error);
        }
    }
}
