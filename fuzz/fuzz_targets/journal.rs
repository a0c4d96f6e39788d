//! A journal beside an unfinished file of three tensors: what it says is believed only where the file
//! agrees. Lines get their checksums, which no search would find, unless they bring one.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use roundwise_fuzz::put;
use roundwise_tensor_file::{Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec, Unfinished};

/// Hexadecimal digits of BLAKE3 in front of each line.
const DIGITS: usize = 16;

/// Value of every byte of the unfinished file.
const CONTENT: u8 = 7;

fn manifest() -> Manifest {
    let spec = |name: &str| TensorSpec { name: name.into(), dtype: Dtype::U8, shape: vec![100] };
    Manifest::new(BTreeMap::new(), ["a", "b", "c"].map(spec).to_vec()).expect("it is right")
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let seal = |line: &[u8]| {
        let json = line.strip_suffix(b"\n").unwrap_or(line);
        match json.get(DIGITS) {
            Some(b' ') => line.to_vec(),
            _ => {
                let sum = blake3::hash(json).to_hex();
                [&sum.as_bytes()[..DIGITS], b" ", line].concat()
            }
        }
    };
    bytes.split_inclusive(|&byte| byte == b'\n').flat_map(seal).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let journal = put(".m.journal", &sealed(bytes));
    put(".m.partial", &vec![CONTENT; manifest().file_bytes() as usize]);
    let target = journal.with_file_name("m");
    let Ok(Some(unfinished)) = Unfinished::find(&target) else { return };
    if let Ok((writer, records)) =
        TensorFileWriter::resume(unfinished, manifest(), Overwrite::Refuse)
    {
        let expected = blake3::hash(&[CONTENT; 100]).to_hex().to_string();
        let hashes = records.iter().flat_map(|record| record.hashes.values());
        assert!(hashes.into_iter().all(|hash| hash.eq_ignore_ascii_case(&expected)));
        let _ = writer.leave();
    }
    assert!(!target.exists());
});
