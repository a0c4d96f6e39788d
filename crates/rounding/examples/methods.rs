//! Prints, as a table, the result of each method on one matrix.
//!
//! `cargo run --release -p roundwise-rounding --example methods -- ROWS COLS RANK SCHEME...`

#![allow(clippy::print_stdout, reason = "an example's output is its point")]

use std::error::Error;
use std::time::Instant;

use roundwise_compute::Device;
use roundwise_rounding::{MethodOptions, Options, round};
use roundwise_scheme::{FloatDtype, ScaleRule, Weight};
use roundwise_testkit::weights;

/// Methods and what is asked of them; `K` stands for the rank.
const CASES: [(&str, &str); 17] = [
    ("nearest", ""),
    ("stochastic", ""),
    ("principal", "top_k = K"),
    ("principal", "top_k = K\noptimizer = 'original'"),
    ("principal", "top_k = K\noptimizer = 'adamw'"),
    ("principal", "top_k = K\noptimizer = 'radam'"),
    ("principal", "top_k = K\noptimizer = 'prodigy'\niterations = 500"),
    ("principal", "top_k = K\noptimizer = 'sgd'"),
    ("principal", "top_k = K\nsolver = 'greedy'"),
    ("principal-input", "top_k = K"),
    ("sampled", ""),
    ("adaround", ""),
    ("adaround", "optimizer = 'adam'"),
    ("adaround-fast", ""),
    ("tpec", ""),
    ("tpec-fast", ""),
    ("tpec-fast", "top_k = K"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, cols, _] = [0, 1, 2].map(|i| arguments[i].parse::<usize>().expect("a number"));
    let bytes = weights::power_law_spectrum(rows, cols, 1).bytes();
    let weight = Weight::new(rows, cols, FloatDtype::F32, &bytes)?;
    let engine = Device::Cpu.resolve()?;
    println!("| scheme | method | asked | objective | ‖E‖ | codes changed | seconds |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for scheme in &arguments[3..] {
        for (method, keys) in CASES {
            let keys = keys.replace('K', &arguments[2]);
            let asked: MethodOptions = toml::from_str(&keys)?;
            let options = Options::of_method(method, &asked)?;
            let start = Instant::now();
            let rounded =
                round(&weight, scheme.parse()?, ScaleRule::Absmax, &options, &engine, 7, &mut ())?;
            let seconds = start.elapsed().as_secs_f64();
            let report = rounded.report;
            let ratio = |stored: f64, nearest: f64| {
                if stored == nearest { 1.0 } else { (stored / nearest).sqrt() }
            };
            println!(
                "| {scheme} | {method} | {} | {:.3} | {:.4} | {:.2} % | {seconds:.2} |",
                keys.replace('\n', ", "),
                ratio(report.stored.objective, report.nearest.objective),
                ratio(report.stored.weight_error, report.nearest.weight_error),
                100.0 * report.changed,
            );
        }
    }
    Ok(())
}
