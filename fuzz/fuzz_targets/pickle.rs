//! A pickle in an archive as PyTorch writes it, beside one storage: nothing is called, and every tensor is
//! read inside its storage.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundwise_fuzz::{archive, put};
use roundwise_tensor_file::Checkpoint;

const STORAGE: [u8; 64] = [7; 64];

fuzz_target!(|bytes: &[u8]| {
    let entries = [("a/data.pkl", bytes), ("a/data/0", &STORAGE)];
    let path = put("pickle", &archive(&entries));
    let Ok(file) = Checkpoint::open(&path) else { return };
    for tensor in file.tensors().iter().take(64) {
        assert!(tensor.byte_len() <= STORAGE.len() as u64, "{tensor:?}");
        let read = file.read(tensor).expect("it lies inside the file");
        assert!(read.iter().all(|&byte| byte == STORAGE[0]), "{tensor:?}");
    }
});
