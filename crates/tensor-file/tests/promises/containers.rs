//! Files of other programs that are cut off or changed give an error or other tensors; they never
//! panic and never allocate memory for data that is not there.

use std::path::Path;

use crate::common::{Gguf, put, q8_0};
use roundwise_tensor_file::Checkpoint;

/// Bytes that a stored byte stands for at most: 84 of Q2_K are 1024 of F32.
const MOST_DECODED: u64 = 13;

fn stays_inside_its_bounds(whole: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    for length in (0..whole.len()).step_by(7) {
        assert!(Checkpoint::open(&put(folder.path(), "cut", &whole[..length])).is_err());
    }
    for at in 0..whole.len() {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 1 << (at % 8);
        let Ok(checkpoint) = Checkpoint::open(&put(folder.path(), "changed", &damaged)) else {
            continue;
        };
        for tensor in checkpoint.tensors() {
            assert!(tensor.byte_len() <= MOST_DECODED * whole.len() as u64);
            checkpoint.read(tensor).unwrap();
        }
    }
}

#[test]
fn damaged_gguf() {
    let list = [&[4, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0][..], &[0; 8]].concat();
    let file = Gguf::new()
        .key("general.alignment", 4, &[32, 0, 0, 0])
        .key("llama.attention.head_count_kv", 9, &list)
        .tensor("w", &[32, 2], 8, &q8_0())
        .tensor("k", &[256], 10, &[0x33; 84]);
    let mut whole = file.bytes();
    // The last 12 bytes are no tensor's.
    whole.truncate(whole.len() - 12);
    stays_inside_its_bounds(&whole);
}

fn fixture(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    std::fs::read(fixtures.join(name)).unwrap()
}

#[test]
fn damaged_pickles() {
    stays_inside_its_bounds(&fixture("pickled/state.pt"));
}

#[test]
fn damaged_pickles_of_the_old_container() {
    stays_inside_its_bounds(&fixture("pickled/legacy.pt"));
}

#[test]
fn damaged_strides() {
    stays_inside_its_bounds(&fixture("checkpoints/strided.pt"));
}

#[test]
fn damaged_training_checkpoints() {
    stays_inside_its_bounds(&fixture("checkpoints/training.pt"));
}
