//! Weights that are worked on by bands of rows: codes, errors and refusals are those of the whole.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use roundwise_convert::plan::Decision;
use roundwise_convert::{
    ConvertError, Job, Plan, PlanRequest, Recipe, RecipeFile, Report, Source, Unwatched, convert,
};
use roundwise_layout::{Layout, MatmulPrecision};
use roundwise_scheme::{FloatDtype, QuantizedMatrix, ScaleRule, Scheme, Weight};
use roundwise_tensor_file::Checkpoint;
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::{Matrix, with_outliers};
use tempfile::TempDir;

const COLS: usize = 512;

/// A file with one weight, whose last band is shorter than the others.
fn model(matrix: &Matrix) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("in.safetensors");
    std::fs::write(&path, safetensors(&[Tensor::f32("a.weight", matrix)])).unwrap();
    (folder, path)
}

fn recipe(scheme: &str) -> Recipe {
    let scheme = Some(scheme.to_owned());
    Recipe::check(RecipeFile { scheme, ..RecipeFile::default() }).unwrap()
}

fn run(input: &PathBuf, scheme: &str) -> Result<Report, ConvertError> {
    let job =
        Job::new(input, input.with_file_name(format!("{scheme}.safetensors")), recipe(scheme));
    convert(&Job { threads: NonZeroUsize::new(2).unwrap(), ..job }, &Unwatched)
}

#[test]
fn bands_make_the_codes_and_the_error_of_the_whole() {
    for (name, rows) in [
        ("fp8", 1100),
        ("fp8-e5m2", 1100),
        ("fp8-row", 1100),
        ("fp8-block-128", 1152),
        ("int8-row", 1100),
        ("int8-row-convrot", 1100),
        ("int4-convrot", 1100),
        ("mxfp8", 1100),
        ("nvfp4", 1100),
    ] {
        let matrix = with_outliers(rows, COLS, 3);
        let (_folder, path) = model(&matrix);
        let source = Source::open(&path).unwrap();
        let plan = Plan::decide(&PlanRequest::new(&source, &recipe(name))).unwrap();
        let Decision::Quantize { band_rows: Some(height), .. } = plan.tensors[0].decision else {
            panic!("{name}: {:?}", plan.tensors[0].decision);
        };
        assert!(height < rows / 2, "{name}: {height}");

        let report = run(&path, name).unwrap();
        let output = Checkpoint::open(&report.output).unwrap();
        let (bytes, scheme) = (matrix.bytes(), name.parse::<Scheme>().unwrap());
        let weight = Weight::new(rows, COLS, FloatDtype::F32, &bytes).unwrap();
        let whole = QuantizedMatrix::nearest_measured(&weight, scheme, ScaleRule::Absmax, vec![]);
        let (codes, error) = whole.unwrap();
        assert_eq!(report.tensors[0].sums, Some(error), "{name}");
        for packed in Layout::Comfy.pack("a", codes, MatmulPrecision::Any) {
            let found = output.read(output.get(&packed.name).unwrap()).unwrap();
            assert!(found == packed.bytes, "{name}: {}", packed.name);
        }
    }
}

#[test]
fn a_nan_in_a_later_band_is_told_by_its_row_of_the_whole() {
    for name in ["fp8", "int8-row", "fp8-block-64", "mxfp8", "nvfp4"] {
        let mut matrix = with_outliers(1152, COLS, 3);
        matrix.values[1001 * COLS + 7] = f32::NAN;
        let (_folder, path) = model(&matrix);
        let refusal = run(&path, name).unwrap_err().to_string();
        assert!(refusal.contains("row 1001 "), "{name}: {refusal}");
    }
}
