//! The hash in a report and in an output is of the bytes that were converted; computing it can be
//! stopped.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use roundwise_convert::inspect::{Biases, inspect};
use roundwise_convert::report::Phase;
use roundwise_convert::{
    ConvertError, Event, Job, Recipe, RecipeFile, Unwatched, Watch, convert, verify,
};
use roundwise_tensor_file::Checkpoint;
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;
use tempfile::TempDir;

fn job(folder: &TempDir) -> Job {
    let [input, output] =
        ["in.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    let recipe = Recipe::check(RecipeFile::default()).unwrap();
    Job { hash_input: true, ..Job::new(input, output, recipe) }
}

/// A file of several pieces.
fn model(seed: u64) -> Vec<u8> {
    let row = gaussian(1, 1 << 10, seed);
    let bias = Tensor::new("bias", "U8", &[9 << 20], vec![seed as u8; 9 << 20]);
    safetensors(&[Tensor::f32("a.weight", &gaussian(64, 64, seed)), Tensor::f32("b", &row), bias])
}

/// Puts another file in the input's place as soon as work begins.
struct Swap {
    from: PathBuf,
    to: PathBuf,
}

impl Watch for Swap {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        if let Event::Phase { name: Phase::Converting, .. } = event {
            std::fs::rename(&self.from, &self.to).unwrap();
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn the_file_that_was_opened_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(&folder);
    let bytes = model(1);
    std::fs::write(&job.input, &bytes).unwrap();
    let other = folder.path().join("other.safetensors");
    std::fs::write(&other, model(2)).unwrap();
    let watch = Swap { from: other, to: job.input.clone() };
    let report = convert(&job, &watch).unwrap();
    assert_eq!(report.input_hashes.len(), 1);
    assert_eq!(report.input_hashes[0].blake3, blake3::hash(&bytes).to_hex().as_str());
    let made = inspect(&job.output).unwrap().provenance.unwrap();
    assert_eq!(made.input_blake3, [report.input_hashes[0].blake3.clone()]);
}

/// Stops in the middle of the hash, which advances by no bytes that anybody waits for.
struct StopWhileHashing;

impl Watch for StopWhileHashing {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Advanced { bytes: 0 } => ControlFlow::Break(()),
            Event::Phase { name: Phase::Syncing, .. } => panic!("nothing may be committed"),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[test]
fn a_stop_while_hashing_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(&folder);
    std::fs::write(&job.input, model(1)).unwrap();
    let stopped = convert(&job, &StopWhileHashing).unwrap_err();
    assert!(matches!(stopped, ConvertError::Stopped), "{stopped}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    convert(&job, &Unwatched).unwrap();
}

#[test]
fn an_output_tells_how_it_was_made_unless_it_must_not() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = |text: &str| Recipe::check(RecipeFile::from_toml(text).unwrap()).unwrap();
    let job = Job { recipe: recipe("keep = ['^b']\nscheme = 'int8'"), ..job(&folder) };
    let bytes = model(1);
    std::fs::write(&job.input, &bytes).unwrap();
    convert(&job, &Unwatched).unwrap();
    let made = inspect(&job.output).unwrap().provenance.unwrap();
    assert_eq!(made.recipe, *job.recipe.file());
    assert_eq!(made.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(made.input_blake3, [blake3::hash(&bytes).to_hex().to_string()]);

    // The input's provenance is kept as `before`.
    let again = Job {
        input: job.output.clone(),
        output: folder.path().join("again.safetensors"),
        recipe: recipe(""),
        ..job.clone()
    };
    convert(&again, &Unwatched).unwrap();
    let entry = |path: &Path| {
        let text = Checkpoint::open(path).unwrap().metadata().get("roundwise").cloned();
        text.map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap())
    };
    assert_eq!(entry(&again.output).unwrap()["before"], entry(&job.output).unwrap());
    assert!(
        verify(&job.output, &again.output, Biases::Same, None, job.threads, &Unwatched).unwrap().ok
    );

    let silent = Job {
        recipe: recipe("provenance = false"),
        output: folder.path().join("silent.safetensors"),
        hash_input: false,
        ..job
    };
    assert!(convert(&silent, &Unwatched).unwrap().input_hashes.is_empty());
    assert_eq!(entry(&silent.output), None);
}
