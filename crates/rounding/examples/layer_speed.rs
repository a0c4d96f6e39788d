//! Rounds one layer against the clock.
//!
//! `cargo run --release -p roundwise-rounding --example layer_speed -- ROWS COLS KNOWN SCHEME METHOD KEYS RUNS [DEVICE]`
//!
//! - KNOWN: what is known of its inputs, `none`, `full` or the rank of a factor beside the diagonal;
//! - METHOD, KEYS: as a recipe has them, such as `activations` and `effort = 'fast'`;
//! - DEVICE: as `--device` names it, `cpu` where it is left out.
//!
//! The weight is BF16, normal; inputs have most of their energy in an eighth of the directions. Prints one line
//! of JSON: the fastest run, the time of all processors in the mean run, what was moved and multiplied in each,
//! what was on the device at once, the scores, and a hash of the codes.

#![allow(clippy::print_stdout, reason = "an example's output is its point")]

use std::error::Error;
use std::time::Instant;

use roundwise_compute::{Device, Engine, Gaussian, Matrix};
use roundwise_rounding::{Inputs, Linear, MethodOptions, Options, Rounded, SecondMoment, round};
use roundwise_scheme::{FloatDtype, ScaleRule, Weight};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SEED: u64 = 7;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (arguments, device) = match &arguments[..] {
        [arguments @ .., device] if arguments.len() == 7 => (arguments, device.parse()?),
        arguments => (arguments, Device::Cpu),
    };
    let [rows, cols, known, scheme, method, keys, runs] = arguments else {
        return Err("see the head of examples/layer_speed.rs".into());
    };
    let [rows, cols, runs]: [usize; 3] = [rows.parse()?, cols.parse()?, runs.parse()?];
    let engine = device.resolve()?;
    let scheme = scheme.parse()?;
    let asked: MethodOptions = toml::from_str(keys)?;
    let options = Options::of_method(method, &asked)?;
    let bytes = bf16(&Gaussian::new(1).matrix(rows, cols));
    let weight = Weight::new(rows, cols, FloatDtype::BF16, &bytes)?;
    let inputs = inputs(known, cols, &engine)?;
    // So that the peak is that of the search alone.
    let engine = engine.limited(u64::MAX);
    let layer = Linear::from(&weight).with_inputs(inputs.as_ref());

    let before = processor_seconds();
    let used = engine.usage();
    let (mut least, mut found) = (f64::INFINITY, None);
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        let rule = ScaleRule::Absmax;
        found = Some(round(layer, scheme, rule, &options, &engine, SEED, &mut ())?);
        least = least.min(start.elapsed().as_secs_f64());
    }
    let used = engine.usage().since(used);
    let in_each = |count: u64| count / runs.max(1) as u64;
    let Rounded { matrix, report } = found.expect("one run or more");
    let hash = matrix.codes().iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &code| {
        (hash ^ u64::from(code)).wrapping_mul(0x0100_0000_01B3)
    });
    let processors = before.zip(processor_seconds());
    let line = json!({
        "device": engine.device().to_string(),
        "seconds": least,
        "uploaded_bytes": in_each(used.uploaded_bytes),
        "downloaded_bytes": in_each(used.downloaded_bytes),
        "synchronisations": in_each(used.synchronisations),
        "product_operations": in_each(used.product_operations),
        "peak_bytes": used.peak_bytes,
        "processor_seconds": processors.map(|(before, after)| (after - before) / runs.max(1) as f64),
        "nanoseconds_per_weight": least * 1e9 / (rows * cols) as f64,
        "solver": report.solver,
        "passes": report.passes,
        "objective": report.stored.objective,
        "objective_of_nearest": report.nearest.objective,
        "weight_error": report.stored.weight_error,
        "output_errors": report.output_errors,
        "codes": format!("{hash:016x}"),
    });
    println!("{line}");
    Ok(())
}

/// Statistics of inputs that are an eighth as many directions mixed, and as much noise.
fn inputs(known: &str, cols: usize, engine: &Engine) -> Result<Option<Inputs>> {
    let rank = match known {
        "none" => return Ok(None),
        "full" => cols / 8,
        rank => rank.parse()?,
    };
    let factor = Gaussian::new(3).matrix(cols, rank);
    let residual = vec![4.0; cols];
    let second_moment = match known {
        "full" => {
            let mut matrix = engine.upload(factor).gram().download();
            (0..cols).for_each(|col| matrix.row_mut(col)[col] += residual[col]);
            SecondMoment::Full(matrix)
        }
        _ => SecondMoment::LowRank { factor, residual },
    };
    Ok(Some(Inputs::new(vec![0.0; cols], second_moment, 20 * cols as u64)?))
}

/// The upper halves of F32 numbers.
fn bf16(matrix: &Matrix) -> Vec<u8> {
    let bytes = |value: &f32| value.to_le_bytes();
    matrix.values().iter().flat_map(|value| [bytes(value)[2], bytes(value)[3]]).collect()
}

/// Seconds that all threads of this process have run; `None` where the system does not tell.
fn processor_seconds() -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let line = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything: the state, and 11 fields on the ticks in programs and system.
    let fields: Vec<&str> = line.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}
