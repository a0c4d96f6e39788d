//! Learning helps or steps aside, whatever the matrix, the scheme, the objective and the solver.

use roundwise_rounding::{
    Anneal, Effort, Feedback, Limit, Objective, Options, Rank, RoundingError, Solver, round,
};
use roundwise_scheme::{FloatDtype, ScaleRule, Scheme, SchemeError, Tiling, Weight};
use roundwise_testkit::cases::test_each;
use roundwise_testkit::weights::{self, Matrix};

use crate::common::{assert_promises, cpu, rounded, searchable};

fn matrices() -> Vec<(&'static str, Matrix)> {
    vec![
        ("power law", weights::power_law_spectrum(128, 192, 1)),
        ("gaussian", weights::gaussian(96, 64, 2)),
        ("outliers", weights::with_outliers(128, 128, 3)),
        ("zero rows", weights::with_zero_rows(64, 128, 4)),
        ("zero tiles", weights::with_zero_tiles(128, 128, 64, 5)),
        ("all zero", weights::all_zero(64, 64)),
        ("constant", weights::constant(64, 128, -0.3)),
        ("rank one", weights::rank_one(128, 64, 6)),
        ("one huge", weights::one_huge(64, 64, 7)),
        ("subnormals", weights::subnormals(64, 64, 8)),
        ("one row", weights::gaussian(1, 256, 9)),
        ("one column", weights::gaussian(256, 1, 10)),
        ("one cell", weights::gaussian(1, 1, 11)),
        ("odd", weights::gaussian(37, 53, 12)),
    ]
}

fn objectives() -> [Objective; 4] {
    [
        Objective::Weight,
        Objective::Principal(Rank::default()),
        Objective::PrincipalInput(Rank::exactly(9)),
        Objective::Sampled { samples: 16 },
    ]
}

/// No objective gets worse and no budget is broken, whatever the matrix and the scheme.
fn is_never_worse(solver: Solver, limit: Limit) {
    let mut cases = Vec::new();
    for (name, matrix) in matrices() {
        for entry in searchable() {
            if entry.scheme.covers(matrix.rows, matrix.cols).is_err() {
                continue;
            }
            for objective in objectives() {
                let effort = Effort::Fast;
                let options = Options { objective, solver, limit, effort, ..Options::default() };
                cases.push((name, matrix.clone(), entry, options));
            }
        }
    }
    struct Case<'a>(&'a (&'static str, Matrix, &'static roundwise_scheme::CatalogEntry, Options));
    impl std::fmt::Debug for Case<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{} {} {:?}", self.0.0, self.0.2.name, self.0.3)
        }
    }
    test_each(cases.iter().map(Case), |Case((_, matrix, entry, options))| {
        assert_promises(matrix, entry.scheme, options);
    });
}

const BUDGET: Limit = Limit::WeightErrorBudget(0.02);
const LAMBDA: Limit = Limit::Lambda(0.3);

fn annealing() -> Solver {
    Solver::Anneal(Anneal { sweeps: 6, ..Anneal::default() })
}

#[test]
fn nearest_codes_are_no_worse_than_themselves() {
    is_never_worse(Solver::Nearest, BUDGET);
    is_never_worse(Solver::Nearest, LAMBDA);
}

#[test]
fn stochastic_rounding_keeps_to_its_budget() {
    is_never_worse(Solver::Stochastic, BUDGET);
}

#[test]
fn stochastic_rounding_never_raises_the_objective() {
    is_never_worse(Solver::Stochastic, LAMBDA);
}

#[test]
fn feedback_keeps_to_its_budget() {
    is_never_worse(Solver::Feedback(Feedback::default()), BUDGET);
}

#[test]
fn feedback_never_raises_the_objective() {
    is_never_worse(Solver::Feedback(Feedback::default()), LAMBDA);
}

#[test]
fn annealing_keeps_to_its_budget() {
    is_never_worse(annealing(), BUDGET);
}

#[test]
fn annealing_never_raises_the_objective() {
    is_never_worse(annealing(), LAMBDA);
}

#[test]
fn the_best_solver_keeps_to_its_budget() {
    is_never_worse(Solver::Best, BUDGET);
}

#[test]
fn the_best_solver_never_raises_the_objective() {
    is_never_worse(Solver::Best, LAMBDA);
}

#[test]
fn learning_helps_where_it_can() {
    let matrix = weights::power_law_spectrum(256, 256, 1);
    for entry in searchable() {
        for solver in
            [Solver::Best, Solver::Feedback(Feedback { lambda: 0.1, ..Feedback::default() })]
        {
            let options =
                Options { solver, limit: Limit::WeightErrorBudget(0.08), ..Options::default() };
            let report = rounded(&matrix, entry.scheme, &options).unwrap().report;
            let ratio = (report.stored.objective / report.nearest.objective).sqrt();
            assert!(ratio < 0.6, "{} {ratio} {report:?}", entry.name);
            assert!(report.changed > 0.0 && report.changed < 0.5);
        }
    }
}

/// All rows of a tall weight move at once, and their moves add up.
#[test]
fn more_passes_are_better_for_tall_weights_too() {
    let matrix = weights::gaussian(8192, 64, 1);
    let ratio = |effort| {
        let solver = Solver::Anneal(Anneal::of(effort));
        let options = Options { solver, effort, ..Options::default() };
        let report = rounded(&matrix, Scheme::FP8, &options).unwrap().report;
        (report.stored.objective / report.nearest.objective).sqrt()
    };
    let [fast, normal] = [Effort::Fast, Effort::Normal].map(ratio);
    // Where no block is taken back, nothing better than nearest codes is left of it.
    assert!(normal < 0.4 && normal < fast, "{normal} {fast}");
}

#[test]
fn a_small_budget_buys_something_too() {
    let matrix = weights::power_law_spectrum(128, 192, 1);
    for budget in [0.001, 0.003, 0.01] {
        let limit = Limit::WeightErrorBudget(budget);
        let options = Options { limit, ..Options::default() };
        let report = rounded(&matrix, "fp8".parse().unwrap(), &options).unwrap().report;
        assert!(!report.kept_nearest, "{budget}");
        assert!(report.stored.projected < report.nearest.projected, "{budget}");
    }
}

/// A pass at λ = 1 alone costs 1 % and leaves 0.64: the walk has to turn back and spend it better.
#[test]
fn one_percent_of_weight_error_halves_the_projected_error() {
    let matrix = weights::power_law_spectrum(512, 512, 1);
    let limit = Limit::WeightErrorBudget(0.01);
    let objective = Objective::Principal(Rank::exactly(102));
    for effort in [Effort::Normal, Effort::High] {
        let options = Options { objective, limit, effort, ..Options::default() };
        let report = rounded(&matrix, "fp8".parse().unwrap(), &options).unwrap().report;
        let ratio = (report.stored.projected / report.nearest.projected).sqrt();
        assert!(ratio < 0.5, "{effort:?} {ratio}");
    }
}

#[test]
fn threads_do_not_choose_the_bytes() {
    let matrix = weights::power_law_spectrum(300, 210, 3);
    let scheme = "fp8-row".parse().unwrap();
    for solver in [Solver::Feedback(Feedback::default()), Solver::Anneal(Anneal::default())] {
        let options = Options { solver, ..Options::default() };
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| rounded(&matrix, scheme, &options).unwrap())
        };
        let one = with_threads(1);
        assert_eq!(one, with_threads(2));
        assert_eq!(one, with_threads(5));
    }
}

#[test]
fn what_cannot_be_rounded_is_refused() {
    let mut matrix = weights::gaussian(8, 8, 1);
    matrix.values[19] = f32::NAN;
    let error = rounded(&matrix, "fp8".parse().unwrap(), &Options::default()).unwrap_err();
    assert_eq!(error, RoundingError::Scheme(SchemeError::NotFinite { row: 2 }));

    let ragged = weights::gaussian(65, 64, 1);
    let scheme: Scheme = "int8-block-64".parse().unwrap();
    assert!(matches!(scheme.tiling(), Tiling::Block { .. }));
    assert!(rounded(&ragged, scheme, &Options::default()).is_err());

    for limit in [Limit::Lambda(0.0), Limit::Lambda(f64::NAN), Limit::WeightErrorBudget(-0.1)] {
        let options = Options { limit, ..Options::default() };
        let error = rounded(&weights::gaussian(8, 8, 1), scheme, &options).unwrap_err();
        assert!(matches!(error, RoundingError::Option { .. }), "{error}");
    }
}

#[test]
fn a_watcher_can_stop() {
    let matrix = weights::power_law_spectrum(64, 64, 1);
    let bytes = matrix.bytes();
    let weight = Weight::new(64, 64, FloatDtype::F32, &bytes).unwrap();
    let mut seen = 0;
    let mut watch = |_| {
        seen += 1;
        std::ops::ControlFlow::Break(())
    };
    let options = Options::default();
    let scheme = "fp8".parse().unwrap();
    let result = round(&weight, scheme, ScaleRule::Absmax, &options, &cpu(), 0, &mut watch);
    assert_eq!((result.unwrap_err(), seen), (RoundingError::Stopped, 1));
}
