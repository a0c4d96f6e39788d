//! A whole conversion. `cargo run --example ten_lines -- model.safetensors small.safetensors`

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use roundwise_convert::{ConvertError, Job, Recipe, RecipeFile, Report, Unwatched, convert};

pub(crate) fn shrink(input: PathBuf, output: PathBuf) -> Result<Report, ConvertError> {
    let recipe = RecipeFile { scheme: Some("int8-row".into()), ..RecipeFile::default() };
    convert(&Job::new(input, output, Recipe::check(recipe)?), &Unwatched)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let report = shrink(paths.next().ok_or("no input")?, paths.next().ok_or("no output")?)?;
    println!("{} weights converted, error {:?}", report.converted_tensors, report.weight_error);
    Ok(())
}
