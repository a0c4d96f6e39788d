use roundwise_scheme::WeightError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::layer_rounding::LayerRounding;
use crate::report::tensor_report::TensorReport;

/// The part of a finished tensor's report that a plan does not know; a journal keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TensorRecord {
    seconds: f64,
    /// `‖E‖²` and `‖W‖²`, bit by bit, so that sums over all tensors come out the same.
    sums: Option<[u64; 2]>,
    /// Error and norm of numbers that became F16, bit by bit.
    #[serde(default)]
    narrowed: Option<[u64; 2]>,
    /// Share of numbers that became 0, bit by bit.
    #[serde(default)]
    zeroed: Option<u64>,
    #[serde(default)]
    is_not_finite: bool,
    rounding: Option<LayerRounding>,
    /// `‖E‖²` of nearest codes, which JSON of a [`LayerRounding`] lacks.
    nearest_energy: f64,
}

impl TensorRecord {
    pub(crate) fn new(report: &TensorReport) -> Self {
        let bits = |sums: WeightError| [sums.error_squared, sums.weight_squared].map(f64::to_bits);
        Self {
            seconds: report.seconds,
            sums: report.sums.map(bits),
            narrowed: report
                .narrowing_error
                .zip(report.weight_norm)
                .map(|(error, norm)| [error, norm].map(f64::to_bits)),
            zeroed: report.zeroed_share.map(f64::to_bits),
            is_not_finite: report.is_not_finite,
            nearest_energy: report
                .rounding
                .as_ref()
                .map_or(0.0, |rounding| rounding.nearest_energy),
            rounding: report.rounding.clone(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("texts and numbers always serialise")
    }

    /// Reads a record; returns `None` for JSON that no version of this program has written.
    pub(crate) fn from_json(value: Value) -> Option<Self> {
        serde_json::from_value(value).ok()
    }
}

impl TensorReport {
    /// Returns the entry of a tensor that an earlier run has finished.
    pub(crate) fn recalled(mut self, record: &TensorRecord) -> Self {
        if let Some([error_squared, weight_squared]) =
            record.sums.map(|bits| bits.map(f64::from_bits))
        {
            self.measure(WeightError { error_squared, weight_squared });
        }
        if let Some([error, norm]) = record.narrowed.map(|bits| bits.map(f64::from_bits)) {
            (self.narrowing_error, self.weight_norm) = (Some(error), Some(norm));
        }
        self.zeroed_share = record.zeroed.map(f64::from_bits);
        self.is_not_finite = record.is_not_finite;
        let with_energy =
            |rounding| LayerRounding { nearest_energy: record.nearest_energy, ..rounding };
        self.rounding = record.rounding.clone().map(with_energy);
        self.seconds = record.seconds;
        self
    }
}
