//! What each layer loses in each scheme.

use std::collections::BTreeMap;

use roundwise_stats::Curvature;
use serde::{Deserialize, Serialize};

/// The loss of every layer in every scheme that was looked at, of the codes that would be stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// The predictions that losses are of, where there are gradients.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "curvature_name")]
    pub curvature: Option<Curvature>,
    /// Schemes by name, for each layer.
    pub layers: BTreeMap<String, BTreeMap<String, SchemeLoss>>,
}

/// What a layer loses in one scheme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeLoss {
    /// `‖E‖²`, in squared model units.
    pub weight_error: f64,
    /// `tr(EHEᵀ) / tr(WHWᵀ)`, with statistics of the layer's inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_error: Option<f64>,
    /// ½ · tr(E H_w Eᵀ) / m, or ½ · ḡ · tr(EHEᵀ), with the gradients of its outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

/// What a prediction is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The divergence of the model's predictions, in nats per token, or half the squared error of an output
    /// element.
    Loss(Curvature),
    /// The sum over the layers of the error of their outputs over these, both squared.
    OutputError,
    /// `‖E‖²`, the sum over the layers; a proxy that says little about quality.
    WeightError,
}

impl Measure {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss(Curvature::Tokens) => "nats",
            Self::Loss(Curvature::Gaussian) => "half-squared-error",
            Self::OutputError => "output-error",
            Self::WeightError => "weight-error",
        }
    }

    /// Returns what a number of this measure is, in a few words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Loss(Curvature::Tokens) => "nats per token",
            Self::Loss(Curvature::Gaussian) => "half the squared error of an output element",
            Self::OutputError => "squared errors of the layers' outputs, over these, added up",
            Self::WeightError => "squared errors of weights, a proxy that says little of quality",
        }
    }

    fn of(self, loss: SchemeLoss) -> Option<f64> {
        match self {
            Self::Loss(_) => loss.loss,
            Self::OutputError => loss.output_error,
            Self::WeightError => Some(loss.weight_error),
        }
    }
}

/// A predicted loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// In the unit of the [`Measure`].
    pub loss: f64,
    /// Whether statistics of the layer lack what the measure needs, so that `‖E‖²` stands for it, scaled
    /// as in the median of the other layers.
    pub is_proxy: bool,
}

impl Sensitivity {
    /// Returns the most telling measure that any layer has.
    pub fn measure(&self) -> Measure {
        let has = |known: fn(&SchemeLoss) -> bool| {
            self.layers.values().flat_map(BTreeMap::values).any(known)
        };
        match self.curvature {
            // The best measure that some layer has: for the others a scaled `‖E‖²` stands in, which is better
            // than the worst measure for all.
            Some(curvature) if has(|loss| loss.loss.is_some()) => Measure::Loss(curvature),
            Some(_) | None if has(|loss| loss.output_error.is_some()) => Measure::OutputError,
            Some(_) | None => Measure::WeightError,
        }
    }

    /// Returns the loss of every layer in every scheme, in the unit of [`measure`](Self::measure).
    pub fn predicted(&self) -> BTreeMap<String, BTreeMap<String, Predicted>> {
        let measure = self.measure();
        let factor = self.proxy_factor(measure);
        let of_scheme = |loss: &SchemeLoss| match measure.of(*loss) {
            Some(loss) => Predicted { loss, is_proxy: false },
            None => Predicted { loss: factor * loss.weight_error, is_proxy: true },
        };
        let of_layer = |schemes: &'_ BTreeMap<String, SchemeLoss>| {
            schemes.iter().map(|(scheme, loss)| (scheme.clone(), of_scheme(loss))).collect()
        };
        self.layers.iter().map(|(layer, schemes)| (layer.clone(), of_layer(schemes))).collect()
    }

    /// Returns the layers whose statistics lack what the measure needs.
    pub fn without_measure(&self) -> Vec<&str> {
        let measure = self.measure();
        let lacks = |schemes: &BTreeMap<String, SchemeLoss>| {
            schemes.values().any(|loss| measure.of(*loss).is_none())
        };
        let layers = self.layers.iter().filter(|(_, schemes)| lacks(schemes));
        layers.map(|(layer, _)| layer.as_str()).collect()
    }

    /// Returns the median of what a measure gives for one unit of `‖E‖²`.
    fn proxy_factor(&self, measure: Measure) -> f64 {
        // ‖E‖² itself, not over ‖W‖²: on a small language model its rank correlation with the
        // measured loss of single layers was 0.50 to 0.56, that of the relative error 0.08 to 0.12.
        let losses = self.layers.values().flat_map(BTreeMap::values);
        let mut factors: Vec<f64> = losses
            .filter(|loss| loss.weight_error > 0.0)
            .filter_map(|loss| Some(measure.of(*loss)? / loss.weight_error))
            .collect();
        factors.sort_by(f64::total_cmp);
        // A median, because a single layer may be off by orders of magnitude.
        factors.get(factors.len() / 2).copied().unwrap_or(1.0)
    }
}

/// Stores the predictions by name.
mod curvature_name {
    use roundwise_stats::Curvature;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        curvature: &Option<Curvature>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        curvature.map(Curvature::name).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Curvature>, D::Error> {
        let Some(name) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let known = Curvature::named(&name);
        known.map(Some).ok_or_else(|| D::Error::custom(format!("unknown predictions `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(weight_error: f64, loss: Option<f64>) -> SchemeLoss {
        SchemeLoss { weight_error, output_error: None, loss }
    }

    /// A layer without gradients is compared by its weights' error, in the unit of the others.
    #[test]
    fn layers_that_lack_statistics_are_planned_by_a_proxy() {
        let layers = [
            ("a", loss(2.0, Some(1.0))),
            ("b", loss(4.0, Some(2.0))),
            ("c", loss(10.0, Some(1.0))),
            ("d", loss(6.0, None)),
        ];
        let layers = layers
            .map(|(name, loss)| (name.to_owned(), BTreeMap::from([("fp8".to_owned(), loss)])));
        let sensitivity = Sensitivity { curvature: Some(Curvature::Tokens), layers: layers.into() };
        assert_eq!(sensitivity.measure(), Measure::Loss(Curvature::Tokens));
        assert_eq!(sensitivity.without_measure(), ["d"]);
        let predicted = sensitivity.predicted();
        assert_eq!(predicted["a"]["fp8"], Predicted { loss: 1.0, is_proxy: false });
        assert_eq!(predicted["d"]["fp8"], Predicted { loss: 3.0, is_proxy: true });
        let text = serde_json::to_string(&sensitivity).unwrap();
        assert_eq!(serde_json::from_str::<Sensitivity>(&text).unwrap(), sensitivity);
    }
}
