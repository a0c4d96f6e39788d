use roundwise_scheme::WeightError;

use crate::report::layer_rounding::LayerRounding;

/// The results of learned rounding for the experts of a bank, put together to that of one weight.
#[derive(Debug, Default)]
pub(crate) struct BankRounding {
    sum: Option<LayerRounding>,
    experts: usize,
}

impl BankRounding {
    /// Adds the result for the next expert; there is none where nothing was searched.
    pub(crate) fn add(&mut self, next: Option<LayerRounding>) {
        let Some(next) = next else { return };
        self.experts += 1;
        self.sum = Some(match self.sum.take() {
            Some(sum) => added(sum, next),
            None => next,
        });
    }

    /// Returns the result for the bank.
    ///
    /// - `error`: of the stored codes of all experts
    pub(crate) fn finish(self, error: WeightError) -> Option<LayerRounding> {
        let sum = self.sum?;
        // Unknown of one expert, it is unknown of the bank.
        let nearest = sum.nearest_weight_error.map(|_| sum.nearest_energy);
        let relative =
            nearest.map(|energy| WeightError { error_squared: energy, ..error }.relative());
        Some(LayerRounding {
            changed_share: sum.changed_share / self.experts as f64,
            nearest_weight_error: relative,
            nearest_energy: nearest.unwrap_or_default(),
            ..sum
        })
    }
}

/// Adds energies up. Of what has no sum the larger number is taken, which no expert exceeds.
fn added(sum: LayerRounding, next: LayerRounding) -> LayerRounding {
    let both = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b);
    let larger = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b));
    LayerRounding {
        rank: sum.rank.max(next.rank),
        objective_value: both(sum.objective_value, next.objective_value),
        nearest_objective_value: both(sum.nearest_objective_value, next.nearest_objective_value),
        projected_error: both(sum.projected_error, next.projected_error),
        nearest_weight_error: both(sum.nearest_weight_error, next.nearest_weight_error),
        nearest_energy: sum.nearest_energy + next.nearest_energy,
        changed_share: sum.changed_share + next.changed_share,
        lambda: sum.lambda.max(next.lambda),
        bound_ratio: larger(sum.bound_ratio, next.bound_ratio),
        passes: sum.passes.max(next.passes),
        is_nearest: sum.is_nearest && next.is_nearest,
        output_error: larger(sum.output_error, next.output_error),
        nearest_output_error: larger(sum.nearest_output_error, next.nearest_output_error),
        damping: larger(sum.damping, next.damping),
        predicted_loss: both(sum.predicted_loss, next.predicted_loss),
        lacks_statistics: sum.lacks_statistics || next.lacks_statistics,
        failure: sum.failure.or(next.failure),
        device_failure: sum.device_failure.or(next.device_failure),
        device_shortage: sum.device_shortage.or(next.device_shortage),
        // Where the search of one expert ended, it tells what was searched.
        solver: if sum.is_nearest { next.solver } else { sum.solver },
        objective: sum.objective,
        moment: sum.moment.or(next.moment),
    }
}

#[cfg(test)]
mod tests {
    use roundwise_rounding::Options;

    use super::*;

    fn of_expert(objective: f64) -> LayerRounding {
        LayerRounding {
            objective_value: Some(objective),
            nearest_objective_value: Some(2.0 * objective),
            nearest_weight_error: Some(0.1),
            nearest_energy: 9.0,
            changed_share: objective / 10.0,
            is_nearest: false,
            ..LayerRounding::without_statistics(&Options::default())
        }
    }

    fn of_bank(experts: impl IntoIterator<Item = LayerRounding>) -> LayerRounding {
        let mut bank = BankRounding::default();
        experts.into_iter().for_each(|expert| bank.add(Some(expert)));
        let error = WeightError { error_squared: 20.0, weight_squared: 72.0 };
        bank.finish(error).unwrap()
    }

    #[test]
    fn energies_of_experts_are_added() {
        let bank = of_bank([of_expert(1.0), of_expert(3.0)]);
        assert_eq!([bank.objective_value, bank.nearest_objective_value], [Some(4.0), Some(8.0)]);
        assert_eq!(bank.nearest_weight_error, Some(0.5));
        assert_eq!(bank.changed_share, 0.2);
    }

    #[test]
    fn what_is_unknown_of_one_expert_is_unknown_of_the_bank() {
        let unknown = LayerRounding::failed(&Options::default(), "stopped".to_owned());
        for experts in [[of_expert(1.0), unknown.clone()], [unknown, of_expert(1.0)]] {
            let bank = of_bank(experts);
            assert_eq!([bank.objective_value, bank.nearest_weight_error], [None, None]);
            assert_eq!(bank.failure.as_deref(), Some("stopped"));
            assert!(!bank.is_nearest);
        }
    }

    #[test]
    fn a_bank_in_which_nothing_was_searched_has_no_result() {
        let error = WeightError { error_squared: 0.0, weight_squared: 1.0 };
        assert_eq!(BankRounding::default().finish(error), None);
    }
}
