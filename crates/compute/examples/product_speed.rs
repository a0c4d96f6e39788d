//! Speed of the products and of the range finder on one device.
//!
//! `cargo run --release -p roundwise-compute --example product_speed -- [--json] [DEVICE]`
//! beside it, `product_speed_torch.py` prints the same lines for PyTorch.

#![allow(clippy::print_stdout, reason = "an example's output is its point")]

use std::error::Error;
use std::time::Instant;

use roundwise_compute::{Device, DeviceMatrix, Engine, Gaussian, SvdOptions, truncated_svd};

const REPEATS: usize = 5;
/// Rows, inner, columns: a square layer and the thin products of a rank-614 objective.
const SHAPES: [(&str, usize, usize, usize); 5] = [
    ("square", 3072, 3072, 3072),
    ("left", 614, 3072, 3072),
    ("right", 3072, 3072, 614),
    ("core", 614, 3072, 614),
    ("expand", 3072, 614, 3072),
];
const SIDE: usize = 3072;
const RANK: usize = 614;

fn main() -> Result<(), Box<dyn Error>> {
    let mut device = Device::Auto;
    let mut is_json = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => is_json = true,
            other => device = other.parse()?,
        }
    }
    let engine = device.resolve()?;

    let mut lines: Vec<(String, f64, &str)> = Vec::new();
    for (name, rows, inner, cols) in SHAPES {
        let seconds = product_seconds(&engine, rows, inner, cols);
        let flops = 2.0 * (rows * inner * cols) as f64;
        lines.push((format!("{name} {rows}x{inner}x{cols}"), flops / seconds / 1e9, "GFLOP/s"));
    }
    for passes in [6, 8, 10] {
        let weight = Gaussian::new(1).matrix(SIDE, SIDE);
        let options = SvdOptions { passes, ..SvdOptions::new(RANK, 2) };
        let mut energy = 0.0;
        let seconds = median(|| {
            let svd = truncated_svd(&engine, weight.clone(), &options).expect("a finite matrix");
            energy = svd.singular_values.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        });
        let total = roundwise_compute::elementwise::squared_norm(weight.values());
        lines.push((format!("svd {SIDE} rank {RANK} passes {passes}"), seconds, "s"));
        let missed = (1.0 - energy / total).sqrt();
        lines.push((format!("  residual, passes {passes}"), missed, "of the norm"));
    }

    if is_json {
        let entries: Vec<_> = lines
            .iter()
            .map(|(name, value, unit)| {
                serde_json::json!({ "name": name.trim(), "value": value, "unit": unit })
            })
            .collect();
        println!(
            "{}",
            serde_json::json!({ "device": engine.device().to_string(), "lines": entries })
        );
    } else {
        println!("device {}", engine.device());
        for (name, value, unit) in &lines {
            println!("{name:36} {value:10.4} {unit}");
        }
    }
    Ok(())
}

fn product_seconds(engine: &Engine, rows: usize, inner: usize, cols: usize) -> f64 {
    let left = engine.upload(Gaussian::new(1).matrix(rows, inner));
    let right = engine.upload(Gaussian::new(2).matrix(inner, cols));
    median(|| finish(&left.multiply(&right)))
}

/// Waits for a device that computes behind the caller's back.
fn finish(product: &DeviceMatrix) {
    let _one = product.row_block(0..1).column_block(0..1).download();
}

fn median(mut work: impl FnMut()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[REPEATS / 2]
}
