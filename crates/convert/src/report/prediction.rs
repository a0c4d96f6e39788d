use roundwise_stats::Curvature;
use serde::{Deserialize, Serialize};

use crate::report::tensor_report::TensorReport;

/// The loss that a file is predicted to have, from the codes that it stores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// `nats` per token, or `half-squared-error` of an output element.
    pub measure: String,
    /// Sum over the layers whose gradients are known.
    pub loss: f64,
    /// Number of these layers.
    pub layers: usize,
    /// Converted layers that it leaves out, for their gradients are not known.
    #[serde(alias = "left_out")]
    pub left_out_layers: usize,
}

impl Prediction {
    /// Sums up what the codes of all layers are predicted to lose; `None` where gradients are known of none.
    pub(crate) fn of(curvature: Option<Curvature>, tensors: &[TensorReport]) -> Option<Self> {
        let converted = tensors.iter().filter(|tensor| tensor.sums.is_some()).count();
        let losses = tensors.iter().filter_map(|tensor| tensor.rounding.as_ref()?.predicted_loss);
        let losses: Vec<f64> = losses.collect();
        let measure = match curvature? {
            Curvature::Tokens => "nats",
            Curvature::Gaussian => "half-squared-error",
        };
        (!losses.is_empty()).then(|| Self {
            measure: measure.to_owned(),
            loss: losses.iter().sum(),
            layers: losses.len(),
            left_out_layers: converted.saturating_sub(losses.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_of_an_earlier_version_is_read() {
        let former = r#"{"measure":"nats","loss":0.5,"layers":3,"left_out":1}"#;
        let read: Prediction = serde_json::from_str(former).unwrap();
        let expected =
            Prediction { measure: "nats".to_owned(), loss: 0.5, layers: 3, left_out_layers: 1 };
        assert_eq!(read, expected);
    }
}
