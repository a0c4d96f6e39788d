use roundwise_compute::Venue;
use roundwise_rounding::{Options, RoundingReport};
use serde::{Deserialize, Serialize};

use crate::source::UsedMoment;

/// The result of learned rounding for one weight. All energies are in squared model units, of the
/// stored codes decoded with the stored scales; solver, λ and passes are those of the search, whose
/// codes may have been refused. Values that a failed search does not know are null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRounding {
    /// Name of the objective.
    pub objective: String,
    /// Name of the solver.
    pub solver: String,
    /// Number of singular vectors, or of samples.
    pub rank: usize,
    /// Value of the objective.
    pub objective_value: Option<f64>,
    /// [`objective_value`](Self::objective_value) of nearest codes.
    pub nearest_objective_value: Option<f64>,
    /// `‖EV‖²`, V the right singular vectors or the samples.
    #[serde(alias = "input_projected")]
    pub projected_error: Option<f64>,
    /// `‖E‖ / ‖W‖` of nearest codes.
    pub nearest_weight_error: Option<f64>,
    /// Share of the codes that are not the nearest ones.
    #[serde(alias = "changed")]
    pub changed_share: f64,
    /// λ that the search ended at.
    pub lambda: f64,
    /// The objective over what an ideal sequential pass reaches.
    pub bound_ratio: Option<f64>,
    /// Passes over the matrix.
    pub passes: usize,
    /// Whether nearest codes are stored.
    #[serde(alias = "kept_nearest")]
    pub is_nearest: bool,
    /// `tr(EHEᵀ) / tr(WHWᵀ)`: the error of the layer's outputs over them, both squared; known with
    /// statistics of its inputs.
    pub output_error: Option<f64>,
    /// [`output_error`](Self::output_error) of nearest codes.
    pub nearest_output_error: Option<f64>,
    /// Share of the mean of the inputs' second moment that the search added to its diagonal.
    pub damping: Option<f64>,
    /// The second moment that the search looked at, where it looks at inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<UsedMoment>,
    /// The loss of the model that the stored codes are predicted to cost, per prediction, where the gradients
    /// of the layer's outputs are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_loss: Option<f64>,
    /// Whether there are no statistics of this layer's inputs, which the method needs; nearest codes
    /// are stored.
    #[serde(alias = "without_statistics")]
    pub lacks_statistics: bool,
    /// Why the search did not finish.
    pub failure: Option<String>,
    /// Why the device did not compute the search, so that the CPU did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_failure: Option<String>,
    /// What the device had no room for, so that it only multiplied, in tiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_shortage: Option<String>,
    /// `‖E‖²` of nearest codes.
    #[serde(skip)]
    pub(crate) nearest_energy: f64,
}

impl LayerRounding {
    /// Returns the result with where the search was made.
    pub(crate) fn with_venue(self, venue: Venue) -> Self {
        let (device_shortage, device_failure) = match venue {
            Venue::Device => (None, None),
            Venue::Tiles(shortage) => (Some(shortage.to_string()), None),
            Venue::Cpu(failure) => (None, Some(failure.to_string())),
        };
        Self { device_shortage, device_failure, ..self }
    }

    /// Returns the result for nearest codes that are stored because nothing is known of the layer's
    /// inputs.
    pub(crate) fn without_statistics(options: &Options) -> Self {
        Self { lacks_statistics: true, failure: None, ..Self::failed(options, String::new()) }
    }

    /// Returns the result for nearest codes that are stored because the search failed.
    pub(crate) fn failed(options: &Options, failure: String) -> Self {
        Self {
            objective: options.objective.name().to_owned(),
            solver: "nearest".to_owned(),
            rank: 0,
            objective_value: None,
            nearest_objective_value: None,
            projected_error: None,
            nearest_weight_error: None,
            changed_share: 0.0,
            lambda: 0.0,
            bound_ratio: None,
            passes: 0,
            is_nearest: true,
            output_error: None,
            nearest_output_error: None,
            damping: None,
            moment: None,
            predicted_loss: None,
            lacks_statistics: false,
            failure: Some(failure),
            device_failure: None,
            device_shortage: None,
            nearest_energy: 0.0,
        }
    }
}

impl From<RoundingReport> for LayerRounding {
    fn from(report: RoundingReport) -> Self {
        Self {
            objective: report.objective.to_owned(),
            solver: report.solver.to_owned(),
            rank: report.rank,
            objective_value: Some(report.stored.objective),
            nearest_objective_value: Some(report.nearest.objective),
            projected_error: Some(report.stored.input_projected),
            nearest_weight_error: Some(report.relative_nearest_error()),
            changed_share: report.changed,
            lambda: report.lambda,
            bound_ratio: report.bound_ratio,
            passes: report.passes,
            is_nearest: report.kept_nearest,
            output_error: report.output_errors.map(|[stored, _]| stored),
            nearest_output_error: report.output_errors.map(|[_, nearest]| nearest),
            // Only a second moment of inputs is damped; without one the number would mean nothing.
            damping: report.output_errors.map(|_| report.damping),
            moment: None,
            predicted_loss: None,
            lacks_statistics: false,
            failure: None,
            device_failure: None,
            device_shortage: None,
            nearest_energy: report.nearest.weight_error,
        }
    }
}
