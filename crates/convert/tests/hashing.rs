//! The hash in a report is of the bytes that were converted; computing it can be watched and
//! stopped.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;

use roundwise_convert::{
    ConvertError, Event, Job, Overwrite, Recipe, RecipeFile, Unwatched, Watch, convert,
};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;
use tempfile::TempDir;

fn job(folder: &TempDir) -> Job {
    Job {
        input: folder.path().join("in.safetensors"),
        output: folder.path().join("out.safetensors"),
        recipe: Recipe::check(RecipeFile::default()).unwrap(),
        threads: NonZeroUsize::MIN,
        device: roundwise_convert::Device::default(),
        statistics: None,
        starts_over: false,
        overwrite: Overwrite::Refuse,
        verifies: true,
        hash_input: true,
    }
}

/// A file of several pieces.
fn model(seed: u64) -> Vec<u8> {
    let row = gaussian(1, 1 << 10, seed);
    let bias = Tensor::new("bias", "U8", &[9 << 20], vec![seed as u8; 9 << 20]);
    safetensors(&[Tensor::f32("a.weight", &gaussian(64, 64, seed)), Tensor::f32("b", &row), bias])
}

/// Puts another file in the input's place as soon as work begins, and counts what is hashed.
struct Swap {
    from: PathBuf,
    to: PathBuf,
    hashed: Mutex<Option<(u64, u64)>>,
}

impl Watch for Swap {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        let mut hashed = self.hashed.lock().unwrap();
        match event {
            Event::Started { .. } => std::fs::rename(&self.from, &self.to).unwrap(),
            Event::Hashing { bytes } => *hashed = Some((bytes, 0)),
            Event::Advanced { bytes } => {
                if let Some((_, done)) = hashed.as_mut() {
                    *done += bytes;
                }
            }
            _ => {}
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
    let watch = Swap { from: other, to: job.input.clone(), hashed: Mutex::default() };
    let report = convert(&job, &watch).unwrap();
    assert_eq!(report.input_hashes.len(), 1);
    assert_eq!(report.input_hashes[0].blake3, blake3::hash(&bytes).to_hex().as_str());
    let length = bytes.len() as u64;
    assert_eq!(*watch.hashed.lock().unwrap(), Some((length, length)));
}

/// Stops in the middle of the hash.
struct StopWhileHashing(Mutex<bool>);

impl Watch for StopWhileHashing {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        let mut is_hashing = self.0.lock().unwrap();
        match event {
            Event::Hashing { .. } => *is_hashing = true,
            Event::Advanced { .. } if *is_hashing => return ControlFlow::Break(()),
            Event::Syncing => panic!("nothing may be committed"),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn a_stop_while_hashing_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(&folder);
    std::fs::write(&job.input, model(1)).unwrap();
    let stopped = convert(&job, &StopWhileHashing(Mutex::default())).unwrap_err();
    assert!(matches!(stopped.cause(), ConvertError::Stopped), "{stopped}");
    assert!(!job.output.exists());
    let report = convert(&job, &Unwatched).unwrap();
    assert_eq!(report.resumed, report.layers.len());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
