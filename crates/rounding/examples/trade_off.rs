//! Quality and time of learned rounding on matrices whose singular vectors are known.
//!
//! `cargo run --release -p roundwise-rounding --example trade_off -- …`
//!
//! - `make FOLDER ROWS COLS RANK EXPONENT SPREAD` stores a matrix with singular values i^−EXPONENT, its rows then
//!   times exp(SPREAD · N(0, 1)), and its first RANK singular vectors as little-endian F32, unless they are
//!   there;
//! - `round FOLDER ROWS COLS RANK SCHEME BUDGET HOW` rounds it and scores what would be stored; HOW is
//!   `fast`, `normal`, `high`, `feedback[,LAMBDA[,BLOCK]]` or
//!   `anneal,PASSES[,FIRST_LAMBDA[,LAST_LAMBDA[,BLOCK[,DAMPING]]]]`;
//! - `judge FOLDER ROWS COLS RANK SCHEME CODES SCALES` scores codes of another program: bytes and
//!   little-endian F32, both row-major;
//!
//! All but `make` print one line of JSON.

#![allow(clippy::print_stdout, reason = "an example's output is its point")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use roundwise_compute::{
    Device, DeviceMatrix, Engine, Gaussian, Matrix, SvdOptions, elementwise, orthonormalised,
    truncated_svd,
};
use roundwise_rounding::{
    Anneal, Effort, Feedback, Limit, Objective, Options, Rank, Rounded, Solver, round,
};
use roundwise_scheme::{FloatDtype, QuantizedMatrix, ScaleRule, Scheme, Weight};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SEED: u64 = 7;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let engine = Device::Cpu.resolve()?;
    match words[..] {
        ["make", folder, rows, cols, rank, exponent, spread] => {
            let known = Known::at(folder, [rows, cols, rank])?;
            known.make(&engine, exponent.parse()?, spread.parse()?)?;
        }
        ["round", folder, rows, cols, rank, scheme, budget, how] => {
            let known = Known::at(folder, [rows, cols, rank])?;
            println!("{}", rounded(&engine, &known, scheme.parse()?, options(rank, budget, how)?)?);
        }
        ["judge", folder, rows, cols, rank, scheme, codes, scales] => {
            let known = Known::at(folder, [rows, cols, rank])?;
            let scheme = scheme.parse()?;
            let scales = numbers(Path::new(scales))?;
            let codes = fs::read(codes)?;
            let stored =
                QuantizedMatrix::from_parts(scheme, [known.rows, known.cols], codes, scales)?;
            println!("{}", judged(&engine, &known, &stored)?);
        }
        _ => return Err("see the head of examples/trade_off.rs".into()),
    }
    Ok(())
}

/// A matrix `diag(d) · U · diag(i^−EXPONENT) · Vᵀ` on disk, U and V random and orthonormal.
struct Known {
    folder: PathBuf,
    rows: usize,
    cols: usize,
    rank: usize,
}

impl Known {
    fn at(folder: &str, shape: [&str; 3]) -> Result<Self> {
        let [rows, cols, rank] = shape.map(str::parse);
        Ok(Self { folder: folder.into(), rows: rows?, cols: cols?, rank: rank? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}x{}-{}-{name}", self.rows, self.cols, self.rank))
    }

    fn make(&self, engine: &Engine, exponent: f32, spread: f32) -> Result<()> {
        if self.path("weight.f32").exists() {
            return Ok(());
        }
        let side = self.rows.min(self.cols);
        let basis = |length, seed| {
            orthonormalised(engine, &engine.upload(Gaussian::new(seed).matrix(side, length)))
        };
        let (u, v) = (basis(self.rows, 1), basis(self.cols, 2));
        let scaled = u.clone().changed(|values| {
            for (i, vector) in values.chunks_exact_mut(self.rows).enumerate() {
                elementwise::scale(vector, (1.0 + i as f32).powf(-exponent));
            }
        });
        let mut weight = scaled.transposed_multiply(&v).download();
        let leading = |basis: &DeviceMatrix| basis.row_block(0..self.rank).download().transposed();
        let [left, right] = match spread {
            0.0 => [leading(&u), leading(&v)],
            _ => {
                let factors = Gaussian::new(3).matrix(self.rows, 1);
                let rows = weight.values_mut().chunks_exact_mut(self.cols).zip(factors.values());
                rows.for_each(|(row, factor)| elementwise::scale(row, (spread * factor).exp()));
                // Of as many vectors as there are: the whole decomposition, exactly.
                let whole = truncated_svd(engine, weight.clone(), &SvdOptions::new(side, SEED))?;
                [whole.u, whole.v].map(|vectors| vectors.leading_columns(self.rank))
            }
        };
        fs::create_dir_all(&self.folder)?;
        let store = |name, matrix: &Matrix| fs::write(self.path(name), bytes(matrix.values()));
        store("left.f32", &left)?;
        store("right.f32", &right)?;
        // Last, because it is what says that all are there.
        Ok(store("weight.f32", &weight)?)
    }
}

fn options(rank: &str, budget: &str, how: &str) -> Result<Options> {
    let mut options = Options {
        objective: Objective::Principal(Rank::exactly(rank.parse()?)),
        limit: Limit::WeightErrorBudget(budget.parse()?),
        ..Options::default()
    };
    let mut words = how.split(',');
    let name = words.next().unwrap_or_default();
    let mut next = |default: f64| words.next().map_or(Ok(default), str::parse);
    match name {
        "fast" => options.effort = Effort::Fast,
        "normal" => options.effort = Effort::Normal,
        "high" => options.effort = Effort::High,
        "feedback" => {
            let standard = Feedback::default();
            options.solver = Solver::Feedback(Feedback {
                lambda: next(standard.lambda)?,
                block: next(standard.block as f64)? as usize,
                ..Feedback::default()
            });
        }
        "anneal" => {
            let standard = Anneal::default();
            options.effort = Effort::High;
            options.solver = Solver::Anneal(Anneal {
                sweeps: next(standard.sweeps as f64)? as usize,
                first_lambda: next(standard.first_lambda)?,
                last_lambda: next(standard.last_lambda)?,
                block: next(standard.block as f64)? as usize,
                damping: next(standard.damping)?,
            });
        }
        other => return Err(format!("{other}: fast, normal, high, feedback or anneal").into()),
    }
    Ok(options)
}

fn rounded(engine: &Engine, known: &Known, scheme: Scheme, options: Options) -> Result<Value> {
    let weight = fs::read(known.path("weight.f32"))?;
    let view = Weight::new(known.rows, known.cols, FloatDtype::F32, &weight)?;
    let start = Instant::now();
    let Rounded { matrix, report } =
        round(&view, scheme, ScaleRule::Absmax, &options, engine, SEED, &mut ())?;
    let seconds = start.elapsed().as_secs_f64();
    let mut line = judged(engine, known, &matrix)?;
    let found = (report.stored.projected / report.nearest.projected).sqrt();
    line["seconds"] = seconds.into();
    line["solver"] = report.solver.into();
    line["passes"] = report.passes.into();
    line["lambda"] = report.lambda.into();
    line["bound_ratio"] = report.bound_ratio.into();
    line["projected_ratio_found"] = found.into();
    line["kept_nearest"] = report.kept_nearest.into();
    Ok(line)
}

/// The judge knows the true vectors; a solver only finds some.
fn judged(engine: &Engine, known: &Known, stored: &QuantizedMatrix) -> Result<Value> {
    let bytes = fs::read(known.path("weight.f32"))?;
    let view = Weight::new(known.rows, known.cols, FloatDtype::F32, &bytes)?;
    let nearest = QuantizedMatrix::nearest(&view, stored.scheme(), ScaleRule::Absmax)?;
    let weight = view.to_f32();
    let vectors = |name, rows| -> Result<_> {
        Ok(engine.upload(Matrix::new(rows, known.rank, numbers(&known.path(name))?)?))
    };
    let (left, right) = (vectors("left.f32", known.rows)?, vectors("right.f32", known.cols)?);
    let energies = |matrix: &QuantizedMatrix| -> Result<[f64; 2]> {
        let mut error = Matrix::new(known.rows, known.cols, matrix.to_f32())?;
        elementwise::add_scaled(error.values_mut(), -1.0, &weight);
        let energy = elementwise::squared_norm(error.values());
        let projected = left.transposed_multiply(&engine.upload(error)).multiply(&right);
        Ok([projected.squared_norm(), energy])
    };
    let ([projected, energy], [nearest_projected, nearest_energy]) =
        (energies(stored)?, energies(&nearest)?);
    let changed = stored.codes().iter().zip(nearest.codes()).filter(|(a, b)| a != b).count();
    Ok(json!({
        "projected_ratio": (projected / nearest_projected).sqrt(),
        "weight_error_ratio": (energy / nearest_energy).sqrt(),
        "changed": changed as f64 / nearest.codes().len() as f64,
    }))
}

fn numbers(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
