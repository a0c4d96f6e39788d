use std::collections::BTreeMap;

use roundwise_compute::Engines;
use serde::{Deserialize, Serialize};

use crate::report::layer_rounding::LayerRounding;
use crate::report::tensor_report::TensorReport;
use crate::source::UsedMoment;

/// Learned rounding over all weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundingTotals {
    /// Name of the method.
    pub method: String,
    /// Where it was computed.
    pub device: String,
    /// Why it was computed there, where `auto` was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_choice: Option<String>,
    /// Whether the same input gives the same bytes on this device.
    pub is_reproducible: bool,
    /// Weights that it was asked for.
    pub layers: usize,
    /// Weights of which nearest codes are stored.
    #[serde(alias = "kept_nearest")]
    pub nearest_layers: usize,
    /// Weights whose search failed, so that nearest codes are stored.
    #[serde(alias = "failed")]
    pub failed_layers: usize,
    /// Weights that the device failed for, so that the CPU rounded them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpu_layers: usize,
    /// Weights that the device had no room for, so that it only multiplied, in tiles.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tiled_layers: usize,
    /// Weights without statistics of their inputs, which the method needs; nearest codes are stored.
    #[serde(alias = "without_statistics")]
    pub layers_without_statistics: Vec<String>,
    /// Mean over the layers with statistics of the error of their outputs over them, both squared.
    pub output_error: Option<f64>,
    /// [`output_error`](Self::output_error) of nearest codes.
    pub nearest_output_error: Option<f64>,
    /// Numbers of layers by the second moment that their search looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moments: Vec<MomentCount>,
    /// Root of the objectives' sum over that of nearest codes, where anything was minimised.
    pub objective_ratio: Option<f64>,
    /// `‖E‖` over that of nearest codes.
    pub weight_error_ratio: f64,
}

/// The number of layers that were rounded for one second moment of their inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MomentCount {
    /// The second moment.
    pub moment: UsedMoment,
    /// The layers.
    pub layers: usize,
}

impl RoundingTotals {
    pub(crate) fn of(method: &str, engines: &Engines, tensors: &[TensorReport]) -> Self {
        let roundings = || tensors.iter().filter_map(|tensor| tensor.rounding.as_ref());
        let nearest = || roundings().filter(|rounding| rounding.is_nearest);
        // Only weights whose search ended, so that the ratio is of the same layers above and below.
        let stored_energy = |layer: &TensorReport| match &layer.rounding {
            Some(rounding) if rounding.nearest_energy > 0.0 => {
                layer.sums.map(|sums| sums.error_squared)
            }
            _ => None,
        };
        // Where nearest codes have no error there is nothing to gain or to lose.
        let root =
            |stored: f64, nearest: f64| if nearest > 0.0 { (stored / nearest).sqrt() } else { 1.0 };
        let sum_of = |value: fn(&LayerRounding) -> Option<f64>| -> f64 {
            roundings().filter_map(value).sum()
        };
        let nearest_objective = sum_of(|rounding| rounding.nearest_objective_value);
        let mut moments = BTreeMap::<UsedMoment, usize>::new();
        for moment in roundings().filter_map(|rounding| rounding.moment) {
            *moments.entry(moment).or_default() += 1;
        }
        let count = |(moment, layers)| MomentCount { moment, layers };
        Self {
            moments: moments.into_iter().map(count).collect(),
            method: method.to_owned(),
            device: engines.devices().to_string(),
            device_choice: engines.choice().map(ToString::to_string),
            is_reproducible: engines.is_reproducible(),
            layers: roundings().count(),
            nearest_layers: nearest().count(),
            failed_layers: roundings().filter(|rounding| rounding.failure.is_some()).count(),
            cpu_layers: roundings().filter(|rounding| rounding.device_failure.is_some()).count(),
            tiled_layers: roundings().filter(|rounding| rounding.device_shortage.is_some()).count(),
            layers_without_statistics: tensors
                .iter()
                .filter(|layer| layer.rounding.as_ref().is_some_and(|it| it.lacks_statistics))
                .map(|layer| layer.name.clone())
                .collect(),
            output_error: mean(roundings().filter_map(|rounding| rounding.output_error)),
            nearest_output_error: mean(
                roundings().filter_map(|rounding| rounding.nearest_output_error),
            ),
            objective_ratio: (nearest_objective > 0.0)
                .then(|| root(sum_of(|rounding| rounding.objective_value), nearest_objective)),
            weight_error_ratio: root(
                tensors.iter().filter_map(stored_energy).sum(),
                roundings().map(|rounding| rounding.nearest_energy).sum(),
            ),
        }
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
