//! Speed of the slice functions on one thread, in G elements per second.
//!
//! `cargo run --release -p roundwise-grid --example encode_speed [-- --json]`; the same for torch:
//! `python crates/grid/examples/encode_speed_torch.py`.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use roundwise_grid::{
    Bf16, E4m3, F16, Grid, Int8, absmax, decode_scaled, encode_bf16_slice, encode_measured,
    encode_scaled, encode_slice, vectorized, widen_bf16, widen_f16,
};

const IN_MEMORY: usize = 64 << 20;
const IN_CACHE: usize = 64 << 10;
const SCALE: f32 = 0.01;

struct Line {
    name: &'static str,
    memory: f64,
    cache: f64,
}

struct Arrays {
    values: Vec<f32>,
    bf16: Vec<u16>,
    bytes: Vec<u8>,
    codes: Vec<u8>,
}

fn main() {
    let mut arrays = Arrays::new(IN_MEMORY);
    let lines: Vec<Line> = MEASURED
        .iter()
        .map(|&(name, run)| {
            let memory = speed(IN_MEMORY, |length| run(&mut arrays, length));
            let cache = speed(IN_CACHE, |length| run(&mut arrays, length));
            Line { name, memory, cache }
        })
        .collect();
    if std::env::args().any(|argument| argument == "--json") { json(&lines) } else { table(&lines) }
}

type Run = fn(&mut Arrays, usize);

const MEASURED: &[(&str, Run)] = &[
    ("encode_bf16_slice e4m3", |a, n| encode_bf16_slice::<E4m3>(&a.bf16[..n], &mut a.codes[..n])),
    ("encode_bf16_slice int8", |a, n| encode_bf16_slice::<Int8>(&a.bf16[..n], &mut a.codes[..n])),
    ("encode_slice e4m3", |a, n| encode_slice::<E4m3>(&a.values[..n], &mut a.codes[..n])),
    ("encode_slice bf16", |a, n| encode_slice::<Bf16>(&a.values[..n], &mut a.bf16[..n])),
    ("encode_slice f16", |a, n| encode_slice::<F16>(&a.values[..n], &mut a.bf16[..n])),
    ("encode_scaled e4m3", |a, n| encode_scaled::<E4m3>(&a.values[..n], SCALE, &mut a.codes[..n])),
    ("encode_measured e4m3", |a, n| {
        black_box(encode_measured::<E4m3>(&a.values[..n], SCALE, &mut a.codes[..n]));
    }),
    ("scalar encode e4m3", |a, n| {
        for (value, code) in a.values[..n].iter().zip(&mut a.codes[..n]) {
            *code = black_box(E4m3::encode(*value)); // the barrier keeps it scalar
        }
    }),
    ("round e4m3", |a, n| {
        let values = &mut a.values[..n];
        vectorized(|| values.iter_mut().for_each(|value| *value = E4m3::round(*value)));
    }),
    ("absmax", |a, n| {
        black_box(absmax(&a.values[..n]));
    }),
    ("widen_bf16", |a, n| widen_bf16(&a.bytes[1..2 * n + 1], &mut a.values[..n])),
    ("widen_f16", |a, n| widen_f16(&a.bytes[1..2 * n + 1], &mut a.values[..n])),
    ("decode_scaled e4m3", |a, n| decode_scaled::<E4m3>(&a.codes[..n], SCALE, &mut a.values[..n])),
];

impl Arrays {
    /// Values like those of a scaled weight: a bell within ±448, some of them subnormal in E4M3.
    fn new(length: usize) -> Arrays {
        let mut state = 1u32;
        let mut values = Vec::with_capacity(length);
        for _ in 0..length {
            let mut sum = 0.0;
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                sum += (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            }
            values.push(sum * 300.0);
        }
        let mut bf16 = vec![0; length];
        encode_slice::<Bf16>(&values, &mut bf16);
        let mut bytes: Vec<u8> = bf16.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        bytes.push(0);
        Arrays { values, bf16, bytes, codes: vec![0; length] }
    }
}

/// Median of several runs over `length` elements, each at least 64 Mi elements long in total.
fn speed(length: usize, mut run: impl FnMut(usize)) -> f64 {
    let repeats = IN_MEMORY / length;
    let mut seconds = [0.0; 7];
    run(length);
    for second in &mut seconds {
        let start = Instant::now();
        for _ in 0..repeats {
            run(black_box(length));
        }
        *second = start.elapsed().as_secs_f64();
    }
    seconds.sort_by(f64::total_cmp);
    (length * repeats) as f64 / seconds[seconds.len() / 2] / 1e9
}

fn table(lines: &[Line]) {
    println!("{:<24} {:>10} {:>10}   G elements/s, one thread", "", "memory", "cache");
    for Line { name, memory, cache } in lines {
        println!("{name:<24} {memory:>10.2} {cache:>10.2}");
    }
}

fn json(lines: &[Line]) {
    let entry = |line: &Line| {
        let Line { name, memory, cache } = line;
        format!("  \"{name}\": {{\"memory\": {memory:.3}, \"cache\": {cache:.3}}}")
    };
    let entries: Vec<String> = lines.iter().map(entry).collect();
    println!("{{\n{}\n}}", entries.join(",\n"));
}
