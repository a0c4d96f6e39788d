//! Quality and time of learned rounding on matrices whose singular vectors are known.
//!
//! `cargo run --release -p roundwise-rounding --example trade_off -- [--json] ROWS COLS RANK
//! SCHEME BUDGET EFFORT|SWEEPS [FIRST_LAMBDA LAST_LAMBDA BLOCK DAMPING]`

#![allow(clippy::print_stdout, reason = "an example's output is its point")]

use std::error::Error;
use std::time::Instant;

use roundwise_compute::{Device, Engine, Gaussian, Matrix, elementwise, orthonormalised};
use roundwise_rounding::{
    Anneal, Effort, Feedback, Limit, Objective, Options, Rank, Rounded, Solver, round,
};
use roundwise_scheme::{ScaleRule, Weight, WeightKind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_json = arguments.first().is_some_and(|first| first == "--json");
    if is_json {
        arguments.remove(0);
    }
    let [rows, cols, rank] = [0, 1, 2].map(|i| arguments[i].parse::<usize>().unwrap());
    let scheme = arguments[3].parse()?;
    let budget: f64 = arguments[4].parse()?;
    let number = |i: usize, default: f64| {
        arguments.get(i).map_or(default, |text| text.parse().expect("a number"))
    };
    let mut options = Options {
        objective: Objective::Principal(Rank::exactly(rank)),
        limit: Limit::WeightErrorBudget(budget),
        ..Options::default()
    };
    match arguments[5].as_str() {
        "fast" => options.effort = Effort::Fast,
        "normal" => options.effort = Effort::Normal,
        "high" => options.effort = Effort::High,
        "feedback" => {
            options.solver = Solver::Feedback(Feedback {
                lambda: number(6, 1e-3),
                block: number(7, 32.0) as usize,
            });
        }
        sweeps => {
            let standard = Anneal::default();
            options.effort = Effort::High;
            options.solver = Solver::Anneal(Anneal {
                sweeps: sweeps.parse()?,
                first_lambda: number(6, standard.first_lambda),
                last_lambda: number(7, standard.last_lambda),
                block: number(8, standard.block as f64) as usize,
                damping: number(9, standard.damping),
            });
        }
    }

    let engine = Device::Cpu.resolve()?;
    let (weight, u, v) = power_law(&engine, rows, cols);
    let bytes: Vec<u8> = weight.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = Weight::new(rows, cols, WeightKind::F32, &bytes)?;
    let start = Instant::now();
    let verbose = std::env::var_os("VERBOSE").is_some();
    let mut watch = |progress: roundwise_rounding::Progress| {
        if verbose {
            println!(
                "{:3} projected {:.4} error {:.4} {:.2} s",
                progress.step,
                progress.projected_ratio.sqrt(),
                progress.weight_error_ratio,
                start.elapsed().as_secs_f64()
            );
        }
        std::ops::ControlFlow::Continue(())
    };
    let Rounded { matrix, report } =
        round(&view, scheme, ScaleRule::Absmax, &options, &engine, 7, &mut watch)?;
    let seconds = start.elapsed().as_secs_f64();

    // The judge knows the true vectors; the solver only found some.
    let nearest = roundwise_scheme::QuantizedMatrix::nearest(&view, scheme, ScaleRule::Absmax)?;
    let judged = |matrix: &roundwise_scheme::QuantizedMatrix| {
        let mut error = Matrix::new(rows, cols, matrix.to_f32()).expect("a whole matrix");
        elementwise::add_scaled(error.values_mut(), -1.0, weight.values());
        let left = engine.upload(u.leading_columns(rank));
        let right = engine.upload(v.leading_columns(rank));
        left.transposed_multiply(&engine.upload(error)).multiply(&right).squared_norm()
    };
    let line = serde_json::json!({
        "shape": [rows, cols],
        "rank": rank,
        "scheme": arguments[3],
        "solver": report.solver,
        "passes": report.passes,
        "lambda": report.lambda,
        "projected_ratio": (judged(&matrix) / judged(&nearest)).sqrt(),
        "projected_ratio_found": (report.stored.projected / report.nearest.projected).sqrt(),
        "weight_error_ratio": (report.stored.weight_error / report.nearest.weight_error).sqrt(),
        "input_ratio": (report.stored.input_projected / report.nearest.input_projected).sqrt(),
        "changed": report.changed,
        "bound_ratio": report.bound_ratio,
        "kept_nearest": report.kept_nearest,
        "seconds": seconds,
    });
    if is_json {
        println!("{line}");
    } else {
        for (name, value) in line.as_object().expect("an object") {
            println!("{name:22} {value}");
        }
    }
    Ok(())
}

/// `U · diag((i + 1)^−0.75) · Vᵀ`, U and V random and orthonormal.
fn power_law(engine: &Engine, rows: usize, cols: usize) -> (Matrix, Matrix, Matrix) {
    let side = rows.min(cols);
    let basis = |rows, seed| {
        orthonormalised(engine, &engine.upload(Gaussian::new(seed).matrix(rows, side)))
    };
    let (u, v) = (basis(rows, 1), basis(cols, 2));
    let scaled = u.clone().changed(|values| {
        for row in values.chunks_exact_mut(side) {
            let strengths = (1..).map(|i| (i as f32).powf(-0.75));
            row.iter_mut().zip(strengths).for_each(|(value, strength)| *value *= strength);
        }
    });
    (scaled.multiply_transposed(&v).download(), u.download(), v.download())
}
