//! Speed of what a conversion to nearest codes computes: scales, codes, their error, packing.
//!
//! `cargo run --release -p roundwise-layout --example pack_speed` prints G elements per second on
//! one thread, a line for each scheme.

#![expect(clippy::print_stdout, reason = "prints its measurements")]

use std::time::Instant;

use roundwise_layout::{Layout, MatmulPrecision};
use roundwise_scheme::{CATALOG, FloatDtype, QuantizedMatrix, ScaleRule, Weight, measure};

const SIZE: usize = 2048;
const RUNS: usize = 5;

fn main() -> Result<(), roundwise_scheme::SchemeError> {
    // BF16 numbers near 1 of either sign.
    let value = |at: usize| (((at * 2_654_435_761) >> 16) as u16 & 0x80FF) | 0x3F00;
    let bytes: Vec<u8> = (0..SIZE * SIZE).flat_map(|at| value(at).to_le_bytes()).collect();
    let weight = Weight::new(SIZE, SIZE, FloatDtype::BF16, &bytes)?;
    println!("{:<18} {:>6} {:>8} {:>6} {:>8}", "scheme", "codes", "measure", "pack", "together");
    for entry in CATALOG {
        let mut best = [f64::INFINITY; 3];
        for _ in 0..RUNS {
            let starts = Instant::now();
            let matrix = QuantizedMatrix::nearest(&weight, entry.scheme, ScaleRule::Absmax)?;
            let codes = starts.elapsed().as_secs_f64();
            let error = measure(&weight, &matrix);
            let measured = starts.elapsed().as_secs_f64();
            let packed = Layout::Comfy.pack("a", matrix, MatmulPrecision::Any);
            let times = [codes, measured - codes, starts.elapsed().as_secs_f64() - measured];
            assert!(error.relative() < 1.0 && !packed.is_empty());
            best = [0, 1, 2].map(|part| times[part].min(best[part]));
        }
        let speed = |seconds: f64| (SIZE * SIZE) as f64 / seconds / 1e9;
        let [codes, measured, packed] = best.map(speed);
        let together = speed(best.iter().sum());
        println!("{:<18} {codes:>6.2} {measured:>8.2} {packed:>6.2} {together:>8.2}", entry.name);
    }
    Ok(())
}
