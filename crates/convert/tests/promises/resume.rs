//! Same in, same out, also when the work was stopped and continued; the work of another job is
//! neither continued nor lost.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use roundwise_convert::compute::Device;
use roundwise_convert::report::Phase;
use roundwise_convert::rounding::MethodOptions;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{ConvertError, Event, Job, Recipe, RecipeFile, Unwatched, Watch, convert};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::{Matrix, gaussian};
use tempfile::TempDir;

use crate::stop_after::StopAfter;

fn model() -> Vec<u8> {
    let mut tensors: Vec<Tensor> = (0..6)
        .map(|n| Tensor::bf16(&format!("blocks.{n}.weight"), &gaussian(128, 64, n)))
        .collect();
    let nan = Matrix { rows: 64, cols: 64, values: vec![f32::NAN; 64 * 64] };
    tensors.push(Tensor::f32("blocks.3.nan.weight", &nan));
    tensors.push(Tensor { shape: vec![128], ..Tensor::f32("blocks.0.bias", &gaussian(1, 128, 9)) });
    safetensors(&tensors)
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.safetensors"), model()).unwrap();
    folder
}

fn job(folder: &Path, recipe: RecipeFile) -> Job {
    let [input, output] = ["in.safetensors", "out.safetensors"].map(|name| folder.join(name));
    let job = Job::new(input, output, Recipe::check(recipe).unwrap());
    Job { devices: Device::Cpu.into(), overwrite: Overwrite::Replace, ..job }
}

fn learned() -> RecipeFile {
    RecipeFile {
        method: Some("principal".into()),
        method_options: MethodOptions {
            top_k: Some(4),
            bias_correction: Some("synthetic-plus".into()),
            ..MethodOptions::default()
        },
        ..RecipeFile::default()
    }
}

#[track_caller]
fn stop_after(job: &Job, tensors: usize) -> usize {
    match convert(job, &StopAfter(tensors.into())).unwrap_err() {
        ConvertError::Unfinished { source, finished, .. } => {
            assert!(matches!(*source, ConvertError::Stopped), "{source}");
            finished
        }
        other => panic!("{other}"),
    }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn stopped_after_any_tensor_it_becomes_the_same_file_with_the_same_report() {
    for recipe in [RecipeFile::default(), learned()] {
        let folder = folder();
        let job = job(folder.path(), recipe);
        let whole = convert(&job, &Unwatched).unwrap();
        let bytes = std::fs::read(&job.output).unwrap();
        for tensors in 2..=6 {
            std::fs::remove_file(&job.output).unwrap();
            // Twice in a row, so that a run that was resumed is resumed, too.
            stop_after(&job, tensors);
            let second = stop_after(&job, 1);
            let report = convert(&job, &Unwatched).unwrap();
            // Nearest rounding meets the NaN late, and begins again because of it.
            let is_begun_again = job.recipe.file().method.is_none();
            assert!(
                report.recalled_tensors == second || is_begun_again,
                "{} {second}",
                report.recalled_tensors
            );
            assert!(std::fs::read(&job.output).unwrap() == bytes, "after {tensors}");
            assert_eq!(report.weight_error, whole.weight_error);
            for (again, once) in report.tensors.iter().zip(&whole.tensors) {
                assert_eq!((again.sums, again.decision), (once.sums, once.decision));
                assert_eq!(again.rounding.is_some(), once.rounding.is_some());
            }
            let names: Vec<_> = files(folder.path()).into_keys().collect();
            assert_eq!(names, [job.input.clone(), job.output.clone()]);
        }
    }
}

#[test]
fn another_job_is_refused_and_nothing_is_lost() {
    let folder = folder();
    let first = job(folder.path(), RecipeFile::default());
    stop_after(&first, 3);
    let before = files(folder.path());
    let refused = |job: &Job, word: &str| {
        let error = convert(job, &Unwatched).unwrap_err();
        let ConvertError::OtherRun { differences, .. } = &error else { panic!("{error}") };
        assert!(
            differences.len() == 1 && differences[0].to_string().contains(word),
            "{differences:?}"
        );
        assert!(error.help().unwrap().to_string().contains("`starts_over`"), "{error}");
    };
    let int8 = RecipeFile { scheme: Some("int8".into()), ..RecipeFile::default() };
    let other = job(folder.path(), int8);
    refused(&other, "the recipe differs in `scheme`");
    assert!(files(folder.path()) == before);

    let journal = folder.path().join(".out.safetensors.journal");
    let partial = folder.path().join(".out.safetensors.partial");
    let mut model = model();
    *model.last_mut().unwrap() ^= 1;
    std::fs::write(&first.input, &model).unwrap();
    refused(&first, "the input has changed");
    assert!(std::fs::read(&journal).unwrap() == before[&journal]);
    assert!(std::fs::read(&partial).unwrap() == before[&partial]);

    let report = convert(&Job { starts_over: true, ..other }, &Unwatched).unwrap();
    assert_eq!(report.recalled_tensors, 0);
    assert!(!journal.exists() && !partial.exists());
}

/// The name may belong to something else by the end of a long run.
#[test]
fn an_output_that_appears_meanwhile_costs_no_work() {
    let folder = folder();
    let job = Job { overwrite: Overwrite::Refuse, ..job(folder.path(), RecipeFile::default()) };
    struct Appear(PathBuf);
    impl Watch for Appear {
        fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
            if let Event::Phase { name: Phase::Syncing, .. } = event {
                std::fs::write(&self.0, b"mine").unwrap();
            }
            ControlFlow::Continue(())
        }
    }
    let error = convert(&job, &Appear(job.output.clone())).unwrap_err();
    assert!(matches!(error, ConvertError::Unfinished { .. }), "{error}");
    assert_eq!(std::fs::read(&job.output).unwrap(), b"mine");
    std::fs::remove_file(&job.output).unwrap();
    let report = convert(&job, &Unwatched).unwrap();
    assert_eq!(report.recalled_tensors, report.tensors.len());
}

/// Changes a byte of the unfinished file when it is about to be read again.
struct Damage {
    path: PathBuf,
    from_the_end: usize,
}

impl Watch for Damage {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        if let Event::Phase { name: Phase::Checking, .. } = event {
            let mut bytes = std::fs::read(&self.path).unwrap();
            let at = bytes.len() - self.from_the_end;
            bytes[at] ^= 1;
            std::fs::write(&self.path, bytes).unwrap();
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn what_is_not_on_the_disk_as_it_was_written_gets_no_name() {
    let folder = folder();
    let job = job(folder.path(), RecipeFile::default());
    std::fs::write(&job.output, b"mine").unwrap();
    let path = folder.path().join(".out.safetensors.partial");
    for from_the_end in [1, 5000, 20_000] {
        let watch = Damage { path: path.clone(), from_the_end };
        let error = convert(&Job { starts_over: true, ..job.clone() }, &watch).unwrap_err();
        assert!(matches!(error.cause(), ConvertError::File(_)), "{error}");
        assert!(error.to_string().contains("holds other bytes than were written"), "{error}");
        assert_eq!(std::fs::read(&job.output).unwrap(), b"mine");
    }
    let report = convert(&Job { starts_over: true, ..job.clone() }, &Unwatched).unwrap();
    assert!(report.verify_seconds.is_some());
    let unverified = convert(&Job { verifies: false, ..job }, &Unwatched).unwrap();
    assert_eq!(unverified.verify_seconds, None);
}
