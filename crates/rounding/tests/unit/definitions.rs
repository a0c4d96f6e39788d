//! Fast computations agree with the definitions they follow from.

use std::cell::Cell;

use roundwise_compute::{Device, Gaussian, Matrix};
use roundwise_grid::{Code, E4m3, Grid, GridVisitor, Int8};
use roundwise_scheme::{FloatDtype, ScaleRule, Weight};
use roundwise_testkit::weights;

use crate::cells::Cells;
use crate::feedback::feedback_within;
use crate::greedy::greedy;
use crate::iterate::Iterate;
use crate::kernel::{self, Line};
use crate::layer::Layer;
use crate::polish::polish;
use crate::projection::Projection;
use crate::solve::State;
use crate::{Effort, Feedback, Greedy, Inputs, Limit, Objective, Rank, SecondMoment};

const ROWS: usize = 12;
const COLS: usize = 10;

/// Runs `work` on nearest codes of a small matrix.
fn on_state(objective: Objective, scheme: &str, work: impl FnOnce(&mut State<'_>)) {
    on_state_of(COLS, objective, scheme, work);
}

/// Runs `work` on nearest codes of a small matrix of `cols` columns.
fn on_state_of(cols: usize, objective: Objective, scheme: &str, work: impl FnOnce(&mut State<'_>)) {
    let matrix = weights::power_law_spectrum(ROWS, cols, 3);
    let bytes = matrix.bytes();
    let weight = Weight::new(ROWS, cols, FloatDtype::F32, &bytes).unwrap();
    let layer = Layer::new(&weight, scheme.parse().unwrap(), ScaleRule::Absmax, None).unwrap();
    let engine = Device::Cpu.resolve().unwrap();
    let projection = Projection::of(
        objective,
        &layer,
        Some(&inputs(objective, cols)),
        Effort::Normal,
        &engine,
        5,
    )
    .unwrap();
    let cells = Cells::new(&layer, projection.order.clone());
    let found = projection.project(&cells, &engine);
    work(&mut State::new(&engine, &projection, cells, layer.unit, found));
}

/// A full second moment, or one of low rank, by the damping; the first is what R alone describes.
fn inputs(objective: Objective, cols: usize) -> Inputs {
    let factor = Gaussian::new(9).matrix(cols, 4);
    let residual: Vec<f32> = (0..cols).map(|col| 0.1 + 0.02 * col as f32).collect();
    let second_moment = match objective {
        Objective::Activations { damping: Some(_) } => {
            SecondMoment::Full(Matrix::from_fn(cols, cols, |i, j| {
                let product: f32 =
                    factor.row(i).iter().zip(factor.row(j)).map(|(a, b)| a * b).sum();
                product + if i == j { residual[i] } else { 0.0 }
            }))
        }
        _ => SecondMoment::LowRank { factor, residual },
    };
    Inputs::new(vec![0.0; cols], second_moment, 1000).unwrap()
}

fn objectives() -> [Objective; 3] {
    [
        Objective::Principal(Rank::exactly(3)),
        Objective::PrincipalInput(Rank::exactly(2)),
        Objective::Sampled { samples: 4 },
    ]
}

#[test]
fn the_slope_is_that_of_the_objective() {
    let of_inputs = [None, Some(0.3)].map(|damping| Objective::Activations { damping });
    for objective in objectives().into_iter().chain(of_inputs) {
        for limit in [Limit::None, Limit::Lambda(0.7)] {
            for batch in [None, Some(1), Some(2)] {
                on_state(objective, "int8-row", |state| {
                    let latest = Cell::new(state.scored());
                    let iterate = Iterate::new(state, &latest, limit);
                    let (found, push) = iterate.slope(batch);
                    // Solvers lower the damped objective; the score is not damped.
                    let lambda = limit.lambda() + iterate.state.projection.damping;
                    let expected = latest.get().objective(lambda);
                    assert!((found / expected - 1.0).abs() < 1e-5);
                    for place in [0, 17, 64, ROWS * COLS - 1] {
                        let scale = iterate.state.cells.scales(place / ROWS)[place % ROWS];
                        let mut at = |offset: f32| {
                            iterate.state.cells.values[place] += offset;
                            let objective = iterate.state.scored().objective(lambda);
                            iterate.state.cells.values[place] -= offset;
                            objective
                        };
                        // J is a parabola along a cell, so that any distance is exact.
                        let expected = (at(2.0) - at(-2.0)) / 4.0;
                        let found = push.read(|push| 2.0 * f64::from(push[place] * scale));
                        let slack = 1e-4 * expected.abs() + 1e-9;
                        assert!((found - expected).abs() < slack, "{found} {expected}");
                    }
                });
            }
        }
    }
}

/// Only the entries of a triangular R that can be other than 0 are multiplied, block by block.
#[test]
fn what_moves_leave_in_k_gives_the_losses_of_the_codes() {
    // Several blocks of lines, the last one ragged.
    const MANY: usize = 300;
    for damping in [None, Some(0.3)] {
        on_state_of(MANY, Objective::Activations { damping }, "fp8", |state| {
            let nearest = state.scored().projected;
            let agree = |state: &State<'_>| {
                let (kept, scored) = (state.losses().projected, state.scored().projected);
                assert!((kept / scored - 1.0).abs() < 1e-4, "{kept} {scored}");
                scored
            };
            assert!((agree(state) / nearest - 1.0).abs() < 1e-9);
            feedback_within::<E4m3>(state, Feedback::default(), f64::INFINITY, &mut ()).unwrap();
            let fed_back = agree(state);
            let so_far = (&state.losses(), 1);
            polish::<E4m3>(state, 2, 0.0, f64::INFINITY, so_far, &mut ()).unwrap();
            let polished = agree(state);
            assert!(polished < fed_back && fed_back < nearest, "{polished} {fed_back} {nearest}");
        });
    }
}

#[test]
fn greedy_takes_the_best_of_all_single_steps() {
    for objective in objectives() {
        for limit in [Limit::None, Limit::Lambda(0.05)] {
            let mut expected = Vec::new();
            on_state(objective, "fp8", |state| {
                for _ in 0..4 {
                    let (place, value, objective) = best_step::<E4m3>(state, limit);
                    state.cells.values[place] = value;
                    expected.push(objective);
                }
            });
            for (index, expected) in expected.into_iter().enumerate() {
                on_state(objective, "fp8", |state| {
                    let options = Greedy { moves: index + 1 };
                    let steps = greedy::<E4m3>(state, options, limit, &mut ()).unwrap();
                    let found = state.scored().objective(limit.lambda());
                    assert_eq!(steps, index + 1);
                    // Where steps are equally good up to rounding, either may be taken.
                    assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
                });
            }
        }
    }
}

/// Place, new value and the objective afterwards, by trying all.
fn best_step<G: Grid>(state: &mut State<'_>, limit: Limit) -> (usize, f32, f64) {
    let mut best = (0, state.cells.values[0], f64::INFINITY);
    for place in 0..ROWS * COLS {
        let scale = state.cells.scales(place / ROWS)[place % ROWS];
        let (value, weight) = (state.cells.values[place], state.cells.weights[place]);
        let next = if value * scale > weight { G::below(value) } else { G::above(value) };
        state.cells.values[place] = next;
        let objective = state.scored().objective(limit.lambda());
        state.cells.values[place] = value;
        if value * scale != weight && objective < best.2 {
            best = (place, next, objective);
        }
    }
    best
}

/// Checks both line kernels on one grid.
struct Kernels;

impl GridVisitor for Kernels {
    type Output = ();

    fn visit<G: Grid>(self) {
        const LENGTH: usize = 37;
        let random = |seed: u64| Gaussian::new(seed).matrix(1, LENGTH).into_values();
        let scales: Vec<f32> = random(1).iter().map(|x| 0.01 + 0.001 * x.abs()).collect();
        let weights: Vec<f32> = random(2).iter().map(|x| 0.1 * x).collect();
        let energies: Vec<f32> = random(3).iter().map(|x| x * x).collect();
        let pushes: Vec<f32> = random(4).iter().map(|x| 0.02 * x).collect();
        let nearest = weights.iter().zip(&scales).map(|(w, s)| G::round(w / s));
        let nearest: Vec<f32> = nearest.collect();
        let [right_energy, lambda, damping] = [0.8, 0.3, 1.5];
        fn line<'a>(
            parts: [&'a mut Vec<f32>; 2],
            [weights, scales, energies]: [&'a Vec<f32>; 3],
            [right_energy, lambda, damping]: [f32; 3],
        ) -> Line<'a> {
            let [values, push] = parts;
            Line {
                values,
                weights,
                scales,
                left_energies: energies,
                push,
                right_energy,
                lambda,
                damping,
            }
        }
        let given = [&weights, &scales, &energies];

        let (mut values, mut push) = (nearest.clone(), pushes.clone());
        kernel::descend::<G>(line(
            [&mut values, &mut push],
            given,
            [right_energy, lambda, damping],
        ));
        for cell in 0..LENGTH {
            let error = nearest[cell] * scales[cell] - weights[cell];
            let slope = pushes[cell] + lambda * error;
            let curvature = damping * energies[cell] * right_energy + lambda;
            let change = |value: f32| {
                let moved = f64::from(value * scales[cell] - weights[cell] - error);
                moved * (2.0 * f64::from(slope) + moved * f64::from(curvature))
            };
            let least = every_value::<G>().map(change).fold(f64::INFINITY, f64::min);
            assert!(change(values[cell]) <= least + 1e-8, "{cell}");
            let moved = values[cell] * scales[cell] - weights[cell] - error;
            assert!((push[cell] - moved).abs() < 1e-6);
        }

        let (mut values, mut push) = (nearest.clone(), pushes.clone());
        kernel::shift::<G>(line([&mut values, &mut push], given, [0.0, 0.0, 1.0]), 1.0, 3.0);
        for cell in 0..LENGTH {
            let target = weights[cell] / scales[cell];
            let reach = 3.0 * G::step(target);
            let shift = (pushes[cell] / scales[cell]).clamp(-reach, reach);
            assert_eq!(values[cell], G::round(target + shift));
            assert_eq!(push[cell], values[cell] * scales[cell] - weights[cell]);
        }
    }
}

/// The finite values of an 8-bit grid.
fn every_value<G: Grid>() -> impl Iterator<Item = f32> {
    (0..=255_u8).filter_map(|byte| {
        let mut code = [G::Code::default()];
        G::Code::read_le(&[byte], &mut code);
        G::is_finite_code(code[0]).then(|| G::decode(code[0]))
    })
}

#[test]
fn lines_move_as_their_cells_do() {
    Kernels.visit::<E4m3>();
    Kernels.visit::<Int8>();
}
