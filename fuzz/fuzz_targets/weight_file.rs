//! A weight file of any container: its header, its pickle, its directory; every tensor is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundwise_fuzz::put;
use roundwise_tensor_file::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    let path = put("weights", bytes);
    let Ok(file) = Checkpoint::open(&path) else { return };
    for tensor in file.tensors() {
        // A Q2_K block of 84 bytes stands for 1024.
        assert!(tensor.byte_len() <= 13 * bytes.len() as u64, "{tensor:?}");
    }
    // Tensors of a pickle may share their bytes, so that many are more than the file.
    for tensor in file.tensors().iter().take(64) {
        file.read(tensor).expect("it lies inside the file");
    }
});
