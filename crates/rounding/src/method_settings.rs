use serde::Serialize;

use crate::{
    Limit, Method, MethodOptions, MethodSetting, Objective, Options, Rank, SettingValue, Solver,
};

/// A setting as one method has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingOfMethod {
    /// The setting.
    #[serde(flatten)]
    pub setting: MethodSetting,
    /// The value that the method gives it; `None` where it has none of its own, or another setting
    /// decides.
    pub value: Option<SettingValue>,
    /// Solvers that it needs, one of them, to change anything; empty where the method's own will do.
    pub solvers: Vec<&'static str>,
}

impl Method {
    /// Returns the settings that change something of this method, with the values it gives them.
    #[must_use]
    pub fn settings(&self) -> Vec<SettingOfMethod> {
        let options = self.options();
        let settings = MethodOptions::SETTINGS.iter().filter_map(|setting| {
            let solvers = self.solvers_for(setting)?;
            let value = if solvers.is_empty() { value_in(&options, setting.name) } else { None };
            Some(SettingOfMethod { setting: *setting, value, solvers })
        });
        settings.collect()
    }

    /// Solvers that a setting needs; `None` where none of them makes it change anything.
    fn solvers_for(&self, setting: &MethodSetting) -> Option<Vec<&'static str>> {
        // Whether a setting applies is written in `resolve` alone; it is asked with a value of the
        // range.
        let asked = MethodOptions::default().with(setting.name, setting.range.example())?;
        let is_taken = |asked: &MethodOptions| Options::of_method(self.name, asked).is_ok();
        if is_taken(&asked) {
            return Some(vec![]);
        }
        let with =
            |solver: &str| MethodOptions { solver: Some(solver.to_owned()), ..asked.clone() };
        let mut solvers = Solver::NAMES.to_vec();
        solvers.retain(|solver| setting.name != "solver" && is_taken(&with(solver)));
        (!solvers.is_empty()).then_some(solvers)
    }
}

/// Returns the value of a setting in these options.
fn value_in(options: &Options, name: &str) -> Option<SettingValue> {
    let mut options = *options;
    let rank = Rank::in_objective(&mut options.objective).copied();
    let (range, exact) = (rank.filter(|it| !it.is_exact()), rank.filter(|it| it.is_exact()));
    let steps = match options.solver {
        Solver::Greedy(greedy) => Some(greedy.moves),
        Solver::Anneal(anneal) => Some(anneal.sweeps),
        _ => options.solver.descent_mut().map(|descent| descent.stop.iterations),
    };
    let descent = options.solver.descent_mut().copied();
    match name {
        "solver" => Some(options.solver.name().into()),
        "optimizer" => descent.map(|descent| descent.optimizer.name().into()),
        "schedule" => descent.map(|descent| descent.schedule.name().into()),
        "effort" => Some(options.effort.name().into()),
        "weight_error_budget" => match options.limit {
            Limit::WeightErrorBudget(budget) => Some(budget.into()),
            Limit::None | Limit::Lambda(_) => None,
        },
        "lambda" => match options.limit {
            Limit::Lambda(lambda) => Some(lambda.into()),
            Limit::None | Limit::WeightErrorBudget(_) => None,
        },
        "top_p" => range.map(|rank| rank.share.into()),
        "min_k" => range.map(|rank| rank.least.into()),
        "max_k" => range.map(|rank| rank.most.into()),
        "top_k" => exact.map(|rank| rank.least.into()),
        "iterations" => steps.map(SettingValue::from),
        "learning_rate" => descent.map(|descent| descent.learning_rate.into()),
        "patience" => descent.map(|descent| descent.stop.stall_steps.into()),
        "reg_lambda" => match options.solver {
            Solver::AdaRound(adaround) => Some(adaround.regularizer.into()),
            _ => None,
        },
        "beta_start" => match options.solver {
            Solver::AdaRound(adaround) => Some(adaround.first_beta.into()),
            _ => None,
        },
        "beta_end" => match options.solver {
            Solver::AdaRound(adaround) => Some(adaround.last_beta.into()),
            _ => None,
        },
        "calibration_rows" => match options.objective {
            Objective::Sampled { samples } => Some(samples.into()),
            _ => None,
        },
        "damping" => match options.objective {
            Objective::Activations { damping } => damping.map(SettingValue::from),
            _ => None,
        },
        "sides" => match options.objective {
            Objective::Activations { .. } => Some(options.sides.name().into()),
            _ => None,
        },
        // No method has one by itself.
        "bias_correction" => Some("none".into()),
        // All rows at once.
        _ => None,
    }
}
