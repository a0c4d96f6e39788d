use std::borrow::Cow;

use roundwise_scheme::{Scheme, WeightError, Zeroed};
use serde::{Deserialize, Serialize};

use crate::plan::{Action, PlannedTensor};
use crate::report::layer_rounding::LayerRounding;
use crate::report::named;

/// The report of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorReport {
    /// Name in the input.
    pub name: String,
    /// Shape in the input.
    pub shape: Vec<u64>,
    /// Name of the input's numbers: a dtype, or `Q8_0` of GGUF.
    pub dtype: Cow<'static, str>,
    /// The decision.
    pub decision: Action,
    /// Why.
    pub reason: String,
    /// Scheme of the stored codes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "named::optional_name",
        deserialize_with = "named::read_optional_name"
    )]
    pub scheme: Option<Scheme>,
    /// `‖E‖ / ‖W‖` of the stored codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_error: Option<f64>,
    /// The same of what codes stand for, where it became F16, which does not hold all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowing_error: Option<f64>,
    /// Share of the numbers other than 0 that became 0, where that is most of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zeroed_share: Option<f64>,
    /// Whether numbers that stay as they are hold a NaN or an infinity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_not_finite: bool,
    /// `‖W‖`, in model units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_norm: Option<f64>,
    /// The result of learned rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<LayerRounding>,
    /// Reading, rounding, measuring and writing.
    pub seconds: f64,
    /// Sums behind `weight_error`.
    #[serde(skip)]
    pub sums: Option<WeightError>,
}

impl TensorReport {
    /// Returns the entry of a planned tensor before anything has been done to it.
    pub fn planned(planned: &PlannedTensor) -> Self {
        Self {
            name: planned.header.name.clone(),
            shape: planned.header.shape.clone(),
            dtype: planned.header.stored_as().into(),
            decision: planned.action(),
            reason: planned.because(),
            scheme: planned.scheme(),
            weight_error: None,
            narrowing_error: None,
            zeroed_share: None,
            is_not_finite: false,
            weight_norm: None,
            rounding: None,
            seconds: 0.0,
            sums: None,
        }
    }

    /// Sets the measured error of numbers that became F16.
    pub(crate) fn measure_narrowing(&mut self, error: WeightError) {
        self.narrowing_error = Some(error.relative());
        self.weight_norm = Some(error.weight_squared.sqrt());
    }

    /// Sets the measured error of the stored codes.
    pub(crate) fn measure(&mut self, error: WeightError) {
        self.weight_error = Some(error.relative());
        self.weight_norm = Some(error.weight_squared.sqrt());
        self.sums = Some(error);
    }

    /// Sets the measured error of the stored codes, and the count of numbers that became 0.
    pub(crate) fn measure_codes(&mut self, (error, zeroed): (WeightError, Zeroed)) {
        self.measure(error);
        self.count_zeroed(zeroed);
    }

    /// Sets the count of numbers that became 0.
    pub(crate) fn count_zeroed(&mut self, zeroed: Zeroed) {
        self.zeroed_share = Some(zeroed.share()).filter(|share| *share > 0.5);
    }
}
