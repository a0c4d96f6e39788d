//! Every operation on one device against the clock, and beside what the CPU computes.
//!
//! `cargo run --release -p roundwise-compute --features vulkan --example device_speed -- DEVICE SIDE`
//!
//! Prints one line of JSON: the device, and for each operation on matrices of SIDE × SIDE the seconds there and on
//! the CPU, and the largest difference of the results over the largest value.

#![allow(clippy::print_stdout, reason = "an example's output is its point")]

use std::error::Error;
use std::time::Instant;

use roundwise_compute::{Device, DeviceMatrix, Engine, Matrix, upper_factor};
use serde_json::{Value, json};

#[path = "../tests/gpu/operations.rs"]
mod operations;

use operations::{Operation, Precision, operations};

const REPEATS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, side] = &arguments[..] else {
        return Err("see the head of examples/device_speed.rs".into());
    };
    let engine = device.parse::<Device>()?.resolve()?;
    let cpu = Device::Cpu.resolve()?;
    let side: usize = side.parse()?;
    let mut lines: Vec<Value> = moved(&engine, &cpu, side);
    for operation in operations(side, side, side) {
        let (found, seconds) = timed(&engine, &operation);
        let (expected, cpu_seconds) = timed(&cpu, &operation);
        lines.push(json!({
            "name": operation.name,
            "is_exact": operation.precision == Precision::Exact,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "difference": difference(&found, &expected),
        }));
    }
    lines.push(factored(side)?);
    println!(
        "{}",
        json!({
            "device": engine.device().to_string(),
            "name": engine.name(),
            "operations": lines,
        })
    );
    Ok(())
}

/// Times the way to the device and the way back.
fn moved(engine: &Engine, cpu: &Engine, side: usize) -> Vec<Value> {
    let matrix = Matrix::from_fn(side, side, |row, col| (row + col) as f32);
    let upload = |engine: &Engine| {
        let copies = vec![matrix.clone(); REPEATS + 1];
        let mut copies = copies.into_iter();
        least(|| finish(&engine.upload(copies.next().expect("one for each run"))))
    };
    let download = |engine: &Engine| {
        let there = engine.upload(matrix.clone());
        finish(&there);
        least(|| drop(there.clone().download()))
    };
    let line = |name, seconds: &dyn Fn(&Engine) -> f64| {
        json!({
            "name": name,
            "seconds": seconds(engine),
            "cpu_seconds": seconds(cpu),
            "is_exact": true,
        "difference": 0.0,
        })
    };
    vec![line("to the device", &upload), line("back from the device", &download)]
}

/// Times the factorisation of a second moment, which is the host's whatever the device.
fn factored(side: usize) -> Result<Value, Box<dyn Error>> {
    let value = |row: usize, col: usize| if row == col { side as f64 } else { 1.0 };
    upper_factor(side, value)?;
    let seconds = least(|| drop(upper_factor(side, value)));
    Ok(json!({
        "name": "factor of a second moment, on the host",
        "seconds": seconds,
        "cpu_seconds": seconds,
        "is_exact": true,
        "difference": 0.0,
    }))
}

fn timed(engine: &Engine, operation: &Operation) -> (Matrix, f64) {
    let operands = operation.operands.iter().map(|operand| engine.upload(operand.clone()));
    let operands: Vec<DeviceMatrix> = operands.collect();
    let seconds = least(|| finish(&(operation.compute)(engine, &operands)));
    ((operation.compute)(engine, &operands).download(), seconds)
}

/// Waits for a device that computes behind the caller's back.
fn finish(result: &DeviceMatrix) {
    let _one = result.row_block(0..1).column_block(0..1).download();
}

/// Returns the seconds of the fastest run after a first one, which compiles kernels.
fn least(mut work: impl FnMut()) -> f64 {
    work();
    let seconds = (0..REPEATS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

fn difference(found: &Matrix, expected: &Matrix) -> f32 {
    let largest = expected.values().iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let pairs = found.values().iter().zip(expected.values());
    let most = pairs.map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
    most / largest.max(f32::MIN_POSITIVE)
}
