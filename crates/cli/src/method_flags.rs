use clap::Args;
use roundwise_convert::{
    BiasCorrection, Effort, METHODS, MethodOptions, Optimizer, Schedule, Solver,
};

/// How codes are chosen. What is left out has the method's own default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Learned rounding")]
pub(crate) struct MethodFlags {
    #[arg(long, value_name = "METHOD", visible_alias = "rounding", help = method_help())]
    method: Option<String>,
    #[arg(long, value_name = "SOLVER", help = choices("How the objective is minimised", Solver::NAMES))]
    solver: Option<String>,
    #[arg(long, value_name = "EFFORT", help = effort_help())]
    effort: Option<String>,
    /// How far ‖E‖ may rise over nearest codes, e.g. 0.03 for 3 %
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    weight_error_budget: Option<f64>,
    /// λ of objective + λ‖E‖², instead of a budget
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    lambda: Option<f64>,
    /// Singular vectors, as a share of the matrix's smaller side
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Singular vectors at least
    #[arg(long, value_name = "N")]
    min_k: Option<usize>,
    /// Singular vectors at most
    #[arg(long, value_name = "N")]
    max_k: Option<usize>,
    /// Singular vectors exactly
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    #[arg(long, value_name = "OPTIMIZER", help = choices("How a gradient becomes a step", Optimizer::NAMES))]
    optimizer: Option<String>,
    #[arg(long, value_name = "SCHEDULE", help = choices("How the learning rate changes", Schedule::NAMES))]
    schedule: Option<String>,
    /// Learning rate that the schedule starts from
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    learning_rate: Option<f64>,
    /// Steps of a descent, or passes over the matrix, at most
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Steps without a lower loss that end a descent
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Weight of the term that makes the choices of adaround hard
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    reg_lambda: Option<f64>,
    /// Random input rows
    #[arg(long, value_name = "N")]
    calibration_rows: Option<usize>,
    /// Random input rows that are multiplied at once
    #[arg(long, value_name = "N")]
    calibration_batch: Option<usize>,
    /// What is added to the second moment of real inputs, as a share of its mean
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    damping: Option<f64>,
    #[arg(long, value_name = "RULE", help = bias_help())]
    bias_correction: Option<String>,
}

fn method_help() -> String {
    let names = METHODS.iter().map(|method| method.name);
    choices("How codes are chosen", names) + " [default: nearest; with --stats activations]"
}

fn effort_help() -> String {
    choices("How much time may be spent", Effort::NAMES) + " [default: normal]"
}

fn bias_help() -> String {
    choices("Change of biases by real or random inputs", BiasCorrection::NAMES) + " [default: none]"
}

/// `What it is: one, another, a third`
pub(crate) fn choices(what: &str, names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    format!("{what}: {}", names.join(", "))
}

impl MethodFlags {
    /// The method's name, and what is changed of its defaults.
    pub(crate) fn to_options(&self) -> (Option<String>, MethodOptions) {
        let options = MethodOptions {
            solver: self.solver.clone(),
            effort: self.effort.clone(),
            weight_error_budget: self.weight_error_budget,
            lambda: self.lambda,
            top_p: self.top_p,
            min_k: self.min_k,
            max_k: self.max_k,
            top_k: self.top_k,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            learning_rate: self.learning_rate,
            iterations: self.iterations,
            patience: self.patience,
            reg_lambda: self.reg_lambda,
            calibration_rows: self.calibration_rows,
            calibration_batch: self.calibration_batch,
            damping: self.damping,
            bias_correction: self.bias_correction.clone(),
        };
        (self.method.clone(), options)
    }
}
