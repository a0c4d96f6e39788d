//! A conversion in ten lines: `cargo run --example convert_file -- model.safetensors out.safetensors`.

use std::error::Error;

use roundwise_convert::{Job, Recipe, RecipeFile, Unwatched, convert};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    let [input, output] = &paths[..] else { return Err("expected INPUT and OUTPUT".into()) };
    let recipe = Recipe::check(RecipeFile::from_toml("scheme = 'int8-row'")?)?;
    let report = convert(&Job::new(input, output, recipe), &Unwatched)?;
    let _ = report.layers.iter().filter(|layer| layer.scheme.is_some()).count();
    Ok(())
}
