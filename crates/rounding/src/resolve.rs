//! Turns a method's name and typed settings into options, and collects every complaint.

use roundwise_optim::{Optimizer, Schedule};

use crate::complaints::Complaints;
use crate::{
    AdaRound, Anneal, BiasCorrection, CodeDescent, Complaint, Effort, Greedy, Limit, METHODS,
    Method, MethodError, MethodOptions, Objective, Options, Problem, Rank, Sides, Solver, WhyNot,
};

/// Returns the options of a method as asked, and the correction of biases that goes with them.
pub(crate) fn resolve(
    name: &str,
    asked: &MethodOptions,
) -> Result<(Options, BiasCorrection), MethodError> {
    let Some(method) = Method::named(name) else {
        let known = METHODS.iter().map(|method| method.name).collect();
        let problem = Problem::UnknownName { found: name.to_owned(), known };
        let complaints = vec![Complaint { setting: "method", problem }];
        return Err(MethodError { method: name.to_owned(), complaints });
    };
    let complaints = Complaints::about(method.name);
    let bias_correction = BiasCorrection::None;
    let mut resolution =
        Resolution { method, options: method.options(), bias_correction, complaints };
    // The earlier settings decide what the later ones apply to.
    resolution.solver(asked);
    resolution.descent(asked);
    resolution.limit(asked);
    resolution.rank(asked);
    resolution.rows(asked);
    resolution.rest(asked);
    resolution.complaints.or((resolution.options, resolution.bias_correction))
}

struct Resolution {
    method: &'static Method,
    options: Options,
    bias_correction: BiasCorrection,
    complaints: Complaints,
}

impl Resolution {
    fn solver(&mut self, asked: &MethodOptions) {
        let solver = self.complaints.named("solver", &asked.solver, Solver::named);
        let optimizer = self.complaints.named("optimizer", &asked.optimizer, Optimizer::named);
        if let Some(solver) = solver
            && self.complaints.applies("solver", self.without_choice())
            // A method's own solver keeps the method's settings.
            && solver.name() != self.options.solver.name()
        {
            if !solver.serves(self.options.objective) {
                self.complaints.applies("solver", Some(WhyNot::Solver(solver.name())));
            }
            self.options.solver = solver;
            // Published methods come without a limit. These solvers would spend any weight error
            // that lowers the objective.
            if let Solver::Best | Solver::Feedback(_) | Solver::Anneal(_) = solver
                && self.options.limit == Limit::None
                && !matches!(self.options.objective, Objective::Activations { .. })
            {
                self.options.limit = Limit::default();
            }
        }
        let Some(optimizer) = optimizer else { return };
        self.options.solver = match self.options.solver {
            // An optimizer alone asks for a descent. With a solver that was named it has to apply
            // to that one.
            Solver::Best if asked.solver.is_none() => {
                Solver::Descent(CodeDescent::published(optimizer))
            }
            Solver::Descent(descent) if descent.descent.optimizer != optimizer => {
                Solver::Descent(CodeDescent::published(optimizer))
            }
            Solver::AdaRound(options) => Solver::AdaRound(options.with(optimizer)),
            solver => solver,
        };
        let why = self.without_gradient();
        self.complaints.applies("optimizer", why);
    }

    fn descent(&mut self, asked: &MethodOptions) {
        let schedule = self.complaints.named("schedule", &asked.schedule, Schedule::named);
        let rate = self.complaints.number("learning_rate", asked.learning_rate);
        let iterations = self.complaints.count("iterations", asked.iterations);
        let why = self.without_gradient();
        for (option, is_asked) in [
            ("schedule", asked.schedule.is_some()),
            ("learning_rate", asked.learning_rate.is_some()),
            ("patience", asked.patience.is_some()),
        ] {
            if is_asked {
                self.complaints.applies(option, why);
            }
        }
        if let Some(descent) = self.options.solver.descent_mut() {
            descent.schedule = schedule.unwrap_or(descent.schedule);
            descent.learning_rate = rate.unwrap_or(descent.learning_rate);
            // A rate that was asked for is no reason to stop.
            descent.stop.learning_rate = descent.stop.learning_rate.min(descent.learning_rate);
            descent.stop.stall_steps = asked.patience.unwrap_or(descent.stop.stall_steps);
        }
        let Some(iterations) = iterations else { return };
        match &mut self.options.solver {
            Solver::Greedy(Greedy { moves }) => *moves = iterations,
            Solver::Anneal(Anneal { sweeps, .. }) => *sweeps = iterations,
            Solver::Descent(CodeDescent { descent, .. })
            | Solver::AdaRound(AdaRound { descent, .. }) => descent.stop.iterations = iterations,
            solver
            @ (Solver::Nearest | Solver::Stochastic | Solver::Feedback(_) | Solver::Best) => {
                let why = WhyNot::NoIterations(solver.name());
                self.complaints.applies("iterations", Some(why));
            }
        }
    }

    fn limit(&mut self, asked: &MethodOptions) {
        let budget = self.complaints.number("weight_error_budget", asked.weight_error_budget);
        let lambda = self.complaints.number("lambda", asked.lambda);
        if asked.weight_error_budget.is_some() && asked.lambda.is_some() {
            self.complaints.add("lambda", Problem::Excludes { other: "weight_error_budget" });
        }
        if let Some(budget) = budget
            && self.complaints.applies("weight_error_budget", self.without_choice())
        {
            self.options.limit = Limit::WeightErrorBudget(budget);
        }
        if let Some(lambda) = lambda
            && self.complaints.applies("lambda", self.without_choice())
        {
            self.options.limit = Limit::Lambda(lambda);
        }
    }

    fn rank(&mut self, asked: &MethodOptions) {
        let share = self.complaints.number("top_p", asked.top_p);
        let least = self.complaints.count("min_k", asked.min_k);
        let most = self.complaints.count("max_k", asked.max_k);
        let exactly = self.complaints.count("top_k", asked.top_k);
        let of_range = [
            ("top_p", asked.top_p.is_some()),
            ("min_k", asked.min_k.is_some()),
            ("max_k", asked.max_k.is_some()),
        ];
        // `is_exact` is asked before the rank changes: it is the method's own rank that refuses a
        // share.
        let is_exact = match Rank::in_objective(&mut self.options.objective) {
            None => {
                let none = Some(WhyNot::NoSingularVectors);
                for (option, is_asked) in of_range.into_iter().chain([("top_k", exactly.is_some())])
                {
                    if is_asked {
                        self.complaints.applies(option, none);
                    }
                }
                return;
            }
            Some(rank) => {
                let is_exact = rank.is_exact();
                if let Some(exactly) = exactly {
                    *rank = Rank::exactly(exactly);
                } else if !is_exact {
                    rank.share = share.unwrap_or(rank.share);
                    rank.most = most.unwrap_or(rank.most);
                    // A least that was not asked for gives way to the most.
                    rank.least = least.unwrap_or(rank.least.min(rank.most));
                }
                is_exact
            }
        };
        for (option, is_asked) in of_range {
            if is_asked && asked.top_k.is_some() {
                self.complaints.add(option, Problem::Excludes { other: "top_k" });
            } else if is_asked && is_exact {
                self.complaints.applies(option, Some(WhyNot::ExactRank));
            }
        }
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            self.complaints.add("max_k", Problem::LessThan { found: most, other: "min_k" });
        }
    }

    fn rows(&mut self, asked: &MethodOptions) {
        let asked_rows = self.complaints.count("calibration_rows", asked.calibration_rows);
        let batch = self.complaints.count("calibration_batch", asked.calibration_batch);
        let mut rows = asked_rows.unwrap_or(self.method.bias_rows);
        let mut is_used = false;
        // One number for both: a correction draws as many rows as the objective, where that draws
        // any.
        if let Objective::Sampled { samples } = &mut self.options.objective {
            is_used = true;
            *samples = asked_rows.unwrap_or(*samples);
            rows = *samples;
        }
        let named = |name: &str| BiasCorrection::named(name, rows);
        let bias = self.complaints.named("bias_correction", &asked.bias_correction, named);
        if let Some(bias) = bias {
            self.bias_correction = bias;
        }
        is_used |= matches!(self.bias_correction, BiasCorrection::Synthetic { .. });
        if asked.calibration_rows.is_some() && !is_used {
            self.complaints.applies("calibration_rows", Some(WhyNot::NoRandomRows));
        }
        let Some(batch) = batch else { return };
        match (&mut self.options.solver, self.options.objective) {
            (Solver::AdaRound(options), Objective::Sampled { .. }) => options.batch = Some(batch),
            _ => {
                self.complaints.applies("calibration_batch", Some(WhyNot::NoBatches));
            }
        }
    }

    fn rest(&mut self, asked: &MethodOptions) {
        let effort = self.complaints.named("effort", &asked.effort, Effort::named);
        let has_vectors = Rank::in_objective(&mut self.options.objective).is_some();
        if let Some(effort) = effort {
            // Effort sets how long vectors are searched for, and the passes of `Best` alone: a
            // solver that was named has passes of its own.
            let is_used = has_vectors || self.options.solver == Solver::Best;
            self.complaints.applies("effort", (!is_used).then_some(WhyNot::NoEffort));
            self.options.effort = effort;
        }
        if let Some(asked) = self.complaints.number("damping", asked.damping) {
            match &mut self.options.objective {
                Objective::Activations { damping } => *damping = Some(asked),
                _ => {
                    self.complaints.applies("damping", Some(WhyNot::NoRealInputs));
                }
            }
        }
        let sides = self.complaints.named("sides", &asked.sides, Sides::named);
        if let Some(sides) = sides {
            let why = match (self.options.objective, self.options.solver) {
                (Objective::Activations { .. }, Solver::Best | Solver::Feedback(_)) => None,
                (Objective::Activations { .. }, solver) => {
                    Some(WhyNot::NoCoupledRows(solver.name()))
                }
                _ => Some(WhyNot::NoRealInputs),
            };
            self.complaints.applies("sides", why);
            self.options.sides = sides;
        }
        self.soft_choice("reg_lambda", asked.reg_lambda, |options| &mut options.regularizer);
        self.soft_choice("beta_start", asked.beta_start, |options| &mut options.first_beta);
        self.soft_choice("beta_end", asked.beta_end, |options| &mut options.last_beta);
    }

    /// A number of the soft choice between two codes.
    fn soft_choice(
        &mut self,
        setting: &'static str,
        asked: Option<f64>,
        field: fn(&mut AdaRound) -> &mut f64,
    ) {
        let Some(number) = self.complaints.number(setting, asked) else { return };
        match &mut self.options.solver {
            Solver::AdaRound(options) => *field(options) = number,
            solver => {
                let why = WhyNot::NoSoftChoice(solver.name());
                self.complaints.applies(setting, Some(why));
            }
        }
    }

    /// Returns why there is nothing to choose a solver for, or to pay weight error for.
    fn without_choice(&self) -> Option<WhyNot> {
        match self.options.objective {
            Objective::None => Some(WhyNot::NoObjective),
            Objective::Weight => Some(WhyNot::NearestIsBest),
            Objective::Principal(_)
            | Objective::PrincipalInput(_)
            | Objective::Sampled { .. }
            | Objective::Activations { .. } => None,
        }
    }

    /// Returns why there are no gradients.
    fn without_gradient(&mut self) -> Option<WhyNot> {
        let name = self.options.solver.name();
        match self.options.solver.descent_mut() {
            Some(_) => None,
            None => Some(WhyNot::NoGradient(name)),
        }
    }
}
