//! Trajectories and rates equal those of the programs that define them: `goldens/make.py`.

use roundwise_compute::Matrix;
use roundwise_optim::optimizer::{Adam, GoodDog, Prodigy, RAdam, RmsProp, Sgd, WeightDecay};
use roundwise_optim::schedule::{Cosine, Exponential, Plateau, Progress};
use roundwise_optim::{Optimizer, Schedule, StopRules};
use serde::Deserialize;

/// Both programs compute in `f32`, in another order: a few 1e-7 of the values per step, carried on
/// over 40 steps. Prodigy's rate depends on numbers rounded to bf16, where a last bit of `f32` now
/// and then decides a rounding: 3e-5 was seen, all others stay below 2e-5.
const ABSOLUTE: f32 = 5e-6;
const RELATIVE: f32 = 5e-5;
/// Schedules are `f64` on both sides; the golden has nine digits.
const RATE_RELATIVE: f64 = 1e-8;

#[derive(Deserialize)]
struct Goldens {
    problems: Vec<Problem>,
    paths: Vec<Path>,
    rates: Vec<Rates>,
}

#[derive(Deserialize)]
struct Problem {
    kind: String,
    shape: [usize; 2],
    a: Vec<f32>,
    b: Vec<f32>,
    start: Vec<f32>,
}

#[derive(Deserialize)]
struct Path {
    optimizer: String,
    problem: usize,
    rate: f64,
    every: usize,
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    step: usize,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Rates {
    schedule: String,
    first: f64,
    values: Vec<f64>,
    rates: Vec<f64>,
}

fn goldens() -> Goldens {
    serde_json::from_str(include_str!("goldens/trajectories.json")).unwrap()
}

impl Problem {
    fn gradient(&self, x: &[f32]) -> Vec<f32> {
        let away = |i: usize| x[i] - self.b[i];
        let link = |i: usize| x[i] - x[i + 1];
        (0..x.len())
            .map(|i| match self.kind.as_str() {
                "bowl" => self.a[i] * away(i),
                "chain" => {
                    let mut links = if i + 1 < x.len() { link(i) } else { 0.0 };
                    links -= if i > 0 { link(i - 1) } else { 0.0 };
                    self.a[i] * away(i) * away(i) * away(i) + links
                }
                other => panic!("unknown problem {other}"),
            })
            .collect()
    }
}

fn optimizer(name: &str) -> Optimizer {
    match name {
        "sgd-decay" => Optimizer::Sgd(Sgd { weight_decay: 0.1, ..Sgd::default() }),
        "sgd-momentum" => {
            Optimizer::Sgd(Sgd { momentum: 0.9, weight_decay: 0.01, ..Sgd::default() })
        }
        "sgd-nesterov" => {
            Optimizer::Sgd(Sgd { momentum: 0.9, is_nesterov: true, ..Sgd::default() })
        }
        "adam-decay" => {
            Optimizer::Adam(Adam { weight_decay: WeightDecay::Gradient(0.1), ..Adam::default() })
        }
        "radam-decoupled" => Optimizer::RAdam(RAdam {
            weight_decay: WeightDecay::Decoupled(0.1),
            ..RAdam::default()
        }),
        "rmsprop-momentum" => {
            Optimizer::RmsProp(RmsProp { momentum: 0.5, weight_decay: 0.1, ..RmsProp::default() })
        }
        "prodigy-fast" => Optimizer::Prodigy(Prodigy {
            first_d: 1e-2,
            d_coefficient: 2.0,
            weight_decay: 0.1,
            ..Prodigy::default()
        }),
        "gooddog-plain" => Optimizer::GoodDog(GoodDog {
            is_invariant: false,
            weight_decay: 0.1,
            ..GoodDog::default()
        }),
        plain => Optimizer::named(plain).unwrap_or_else(|| panic!("unknown optimizer {plain}")),
    }
}

#[test]
fn trajectories_are_the_references() {
    let goldens = goldens();
    let mut failures = Vec::new();
    for path in &goldens.paths {
        let problem = &goldens.problems[path.problem];
        let [rows, cols] = problem.shape;
        let mut variable = Matrix::new(rows, cols, problem.start.clone()).unwrap();
        let mut update = optimizer(&path.optimizer).start(&variable).unwrap();
        let mut steps = 0;
        for point in &path.points {
            while steps < point.step {
                let gradient = problem.gradient(variable.values());
                update.step(&mut variable, &Matrix::new(rows, cols, gradient).unwrap(), path.rate);
                steps += 1;
            }
            let found = variable.values().iter().step_by(path.every);
            let worst = found
                .zip(&point.values)
                .map(|(found, expected)| {
                    (found - expected).abs() / (ABSOLUTE + RELATIVE * expected.abs())
                })
                .fold(
                    0.0_f32,
                    |worst, error| if error.is_nan() { f32::INFINITY } else { worst.max(error) },
                );
            if worst > 1.0 {
                let Path { optimizer, problem, .. } = path;
                failures.push(format!("{optimizer}, problem {problem}, step {steps}: {worst}"));
            }
        }
    }
    assert!(failures.is_empty(), "tolerances exceeded:\n{}", failures.join("\n"));
}

#[test]
fn rates_are_the_references() {
    for case in goldens().rates {
        let schedule = match case.schedule.as_str() {
            "cosine" => Schedule::Cosine(Cosine { minimum: 1e-3 }),
            "exponential" => Schedule::Exponential(Exponential { decay: 0.97, warm_up_steps: 0 }),
            "plateau" => Schedule::Plateau(Plateau {
                factor: 0.5,
                patience_steps: 2,
                cooldown_steps: 1,
                minimum: 1e-3,
                threshold: 1e-2,
                shape_influence: 0.0,
                warm_up_steps: 0,
            }),
            other => panic!("unknown schedule {other}"),
        };
        let stop = StopRules { iterations: 60, ..StopRules::default() };
        let mut progress = Progress::new(&stop);
        let mut rates = schedule.start(case.first, [3, 7]).unwrap();
        for (value, expected) in case.values.iter().zip(&case.rates) {
            progress.saw(*value);
            let found = rates.next(&progress);
            assert!(
                (found - expected).abs() <= RATE_RELATIVE * expected,
                "{}: {found} is not {expected}",
                case.schedule
            );
        }
    }
}
