//! An index of shards beside one shard.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundwise_fuzz::put;
use roundwise_tensor_file::Checkpoint;

const SHARD: &[u8] =
    b"\x38\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}   \x07";

fuzz_target!(|bytes: &[u8]| {
    let shard = put("a.safetensors", SHARD);
    let folder = shard.parent().expect("it lies in a folder");
    let index = put("model.safetensors.index.json", bytes);
    if let Ok(file) = Checkpoint::open(&index) {
        assert!(file.files().iter().all(|file| file.path().parent() == Some(folder)));
        let _ = file.side_files();
    }
});
