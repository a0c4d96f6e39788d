//! The loop keeps the best, stops when told, and every part can be replaced.

use std::ops::ControlFlow;

use roundwise_compute::{Gaussian, Matrix};
use roundwise_optim::optimizer::{Adam, Original, Sgd};
use roundwise_optim::schedule::{Adaptive, Exponential, Plateau};
use roundwise_optim::{
    Descent, Objective, Optimizer, Outcome, Schedule, Step, StopReason, StopRules, descend,
};

/// `½‖x − target‖²`, scored as it is or rounded to whole numbers.
struct Bowl {
    target: f32,
    is_rounded: bool,
    evaluated: Vec<Vec<f32>>,
}

impl Bowl {
    fn new(target: f32) -> Self {
        Self { target, is_rounded: false, evaluated: Vec::new() }
    }
}

impl Objective for Bowl {
    fn evaluate(&mut self, variable: &Matrix, gradient: &mut Matrix) -> f64 {
        self.evaluated.push(variable.values().to_vec());
        let mut value = 0.0;
        for (g, x) in gradient.values_mut().iter_mut().zip(variable.values()) {
            *g = x - self.target;
            value += 0.5 * f64::from(*g).powi(2);
        }
        value
    }

    fn score(&mut self, variable: &Matrix, value: f64) -> f64 {
        if !self.is_rounded {
            return value;
        }
        variable.values().iter().map(|x| f64::from((x.round() - self.target).abs())).sum()
    }
}

fn quiet(_: &Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn run(objective: &mut Bowl, descent: &Descent) -> Outcome {
    descend(objective, Matrix::zeros(2, 3), descent, quiet).unwrap()
}

#[test]
fn every_optimizer_under_every_schedule_goes_down() {
    for optimizer in Optimizer::NAMES {
        for schedule in Schedule::NAMES {
            let optimizer = Optimizer::named(optimizer).unwrap();
            let mut descent = Descent::new(optimizer);
            descent.schedule = Schedule::named(schedule).unwrap();
            descent.learning_rate = optimizer.usual_learning_rate().max(0.05);
            let outcome = run(&mut Bowl::new(1.0), &descent);
            assert!(outcome.best_score < 1.5, "{optimizer:?} {schedule}: {}", outcome.best_score);
        }
    }
    assert_eq!(Optimizer::named("lion"), None);
    assert_eq!(Schedule::named("linear"), None);
}

#[test]
fn the_kept_iterate_is_the_one_that_was_scored() {
    for is_rounded in [false, true] {
        // A step so long that the values swing around the target.
        let mut descent = Descent::new(Optimizer::Original(Original::default()));
        descent.learning_rate = 3.0;
        descent.stop.iterations = 20;
        let mut bowl = Bowl { is_rounded, ..Bowl::new(1.3) };
        let outcome = run(&mut bowl, &descent);
        let kept = &bowl.evaluated[outcome.best_step];
        assert_eq!(kept, outcome.best.values());
        assert_eq!(bowl.score(&outcome.best, bowl_value(kept)), outcome.best_score);
        assert_eq!(bowl.evaluated.len(), outcome.steps);
    }
}

fn bowl_value(values: &[f32]) -> f64 {
    values.iter().map(|x| 0.5 * f64::from(x - 1.3).powi(2)).sum()
}

#[test]
fn a_descent_that_only_climbs_returns_its_start() {
    let mut descent = Descent::new(Optimizer::Sgd(Sgd::default()));
    descent.learning_rate = 10.0;
    descent.stop.iterations = 5;
    let outcome = run(&mut Bowl::new(0.5), &descent);
    assert_eq!((outcome.best_step, outcome.best), (0, Matrix::zeros(2, 3)));
}

#[test]
fn each_rule_stops() {
    let sgd = Descent { learning_rate: 0.5, ..Descent::new(Optimizer::Sgd(Sgd::default())) };
    let with = |stop: StopRules| Descent { stop, ..sgd };
    let none = StopRules { iterations: 60, loss: 0.0, learning_rate: 0.0, stall_steps: 0 };

    let outcome = run(&mut Bowl::new(1.0), &with(StopRules { iterations: 7, ..none }));
    assert_eq!((outcome.reason, outcome.steps), (StopReason::Iterations, 7));

    let outcome = run(&mut Bowl::new(1.0), &with(StopRules { loss: 1e-3, ..none }));
    assert_eq!((outcome.reason, outcome.best_step + 1), (StopReason::Loss, outcome.steps));

    let outcome = run(&mut Bowl::new(0.0), &with(StopRules { stall_steps: 5, ..none }));
    assert_eq!((outcome.reason, outcome.steps), (StopReason::Stall, 6));

    let fading = Schedule::Exponential(Exponential { decay: 0.5, warm_up_steps: 0 });
    let stop = StopRules { learning_rate: 0.1, ..none };
    let outcome = run(&mut Bowl::new(1.0), &Descent { schedule: fading, ..with(stop) });
    assert_eq!((outcome.reason, outcome.steps), (StopReason::LearningRate, 4));

    let diverging = Descent { learning_rate: 1e30, ..with(none) };
    let outcome = run(&mut Bowl::new(1.0), &diverging);
    assert_eq!(outcome.reason, StopReason::NotFinite);
    assert!(outcome.best.values().iter().all(|x| x.is_finite()) && outcome.best_score.is_finite());

    let mut seen = Vec::new();
    let watch = |step: &Step| {
        seen.push(*step);
        if step.index == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let outcome = descend(&mut Bowl::new(1.0), Matrix::zeros(1, 1), &with(none), watch).unwrap();
    assert_eq!((outcome.reason, outcome.steps, seen.len()), (StopReason::Asked, 3, 3));
    assert!(seen.is_sorted_by(|a, b| a.best_score > b.best_score && a.index < b.index));
}

#[test]
fn no_iterations_and_no_values_are_no_trouble() {
    let mut descent = Descent::new(Optimizer::Adam(Adam::default()));
    descent.stop.iterations = 0;
    let outcome = run(&mut Bowl::new(1.0), &descent);
    assert_eq!((outcome.steps, outcome.best), (0, Matrix::zeros(2, 3)));
    for name in Optimizer::NAMES {
        let descent = Descent::new(Optimizer::named(name).unwrap());
        let outcome = descend(&mut Bowl::new(1.0), Matrix::zeros(0, 4), &descent, quiet).unwrap();
        assert_eq!(outcome.best_score, 0.0);
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let refused = |descent: Descent, option: &str| {
        let error = descend(&mut Bowl::new(1.0), Matrix::zeros(1, 1), &descent, quiet).unwrap_err();
        assert_eq!(error.option, option);
        assert!(error.to_string().contains("is needed"), "{error}");
    };
    let good = Descent::new(Optimizer::Adam(Adam::default()));
    refused(Descent { learning_rate: 0.0, ..good }, "learning rate");
    refused(Descent { learning_rate: f64::NAN, ..good }, "learning rate");
    let optimizer = Optimizer::Adam(Adam { beta_2: 1.0, ..Adam::default() });
    refused(Descent { optimizer, ..good }, "adam beta 2");
    let schedule = Schedule::Plateau(Plateau { factor: 1.5, ..Plateau::default() });
    refused(Descent { schedule, ..good }, "plateau factor");
    let schedule = Schedule::Adaptive(Adaptive { slowest: 0.5, ..Adaptive::default() });
    refused(Descent { schedule, ..good }, "adaptive slowest");
}

#[test]
fn the_adaptive_rate_follows_its_formula() {
    use roundwise_optim::schedule::Progress;
    let stop = StopRules { stall_steps: 8, ..StopRules::default() };
    // 1:2, so the stretch is one half.
    let mut rates = Schedule::Adaptive(Adaptive::default()).start(1.0, [10, 20]).unwrap();
    let mut progress = Progress::new(&stop);
    let mut next = |value: f64| {
        progress.saw(value);
        rates.next(&progress)
    };
    // A first value ends no stall: u = 1, no gain.
    assert_eq!(next(5.0), 1.0);
    // Two failures: u = (1 + cos 45°)/2, then ½.
    let u = 0.5 + 0.5 * 0.5_f64.sqrt();
    let first = 0.935 * u + 0.995 * (1.0 - u);
    assert!((next(6.0) - first).abs() < 1e-12);
    let second = first * (0.935 + 0.995) / 2.0;
    assert!((next(6.0) - second).abs() < 1e-12);
    // A success after a stall of two.
    assert!((next(4.0) - second * (1.0 + 0.25 * 1.25 * 0.5)).abs() < 1e-12);
}

#[test]
fn threads_do_not_change_a_bit() {
    let with_threads = |threads: usize, name: &str| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut descent = Descent::new(Optimizer::named(name).unwrap());
            descent.stop.iterations = 8;
            let start = Gaussian::new(1).matrix(150, 700);
            descend(&mut Bowl::new(0.7), start, &descent, quiet).unwrap()
        })
    };
    for name in Optimizer::NAMES {
        let one = with_threads(1, name);
        assert_eq!(one, with_threads(2, name), "{name}");
        assert_eq!(one, with_threads(4, name), "{name}");
    }
}

#[test]
fn the_doubling_rate_doubles_and_halves() {
    use roundwise_optim::schedule::{Doubling, Progress};

    let mut rates = Schedule::Doubling(Doubling::default()).start(1.0, [3, 4]).unwrap();
    let mut progress = Progress::new(&StopRules::default());
    let values = [5.0, 4.0, 4.0, 6.0, 3.0];
    let found = values.map(|value| {
        progress.saw(value);
        rates.next(&progress)
    });
    assert_eq!(found, [2.0, 4.0, 2.0, 1.0, 2.0]);
    for bad in [
        Doubling { up: 0.5, ..Doubling::default() },
        Doubling { down: 0.0, ..Doubling::default() },
        Doubling { minimum: -1.0, ..Doubling::default() },
    ] {
        assert!(Schedule::Doubling(bad).start(1.0, [3, 4]).is_err());
    }
}

#[test]
fn names_are_those_that_are_known() {
    for name in Optimizer::NAMES {
        assert_eq!(Optimizer::named(name).unwrap().name(), name);
    }
    for name in Schedule::NAMES {
        assert_eq!(Schedule::named(name).unwrap().name(), name);
    }
}
