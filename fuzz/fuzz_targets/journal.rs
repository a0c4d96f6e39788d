//! A journal beside an unfinished file of three tensors: what it says is believed only where the file
//! agrees.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use roundwise_fuzz::put;
use roundwise_tensor_file::{Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec, Unfinished};

fn manifest() -> Manifest {
    let spec = |name: &str| TensorSpec { name: name.into(), dtype: Dtype::U8, shape: vec![100] };
    Manifest::new(BTreeMap::new(), ["a", "b", "c"].map(spec).to_vec()).expect("it is right")
}

fuzz_target!(|bytes: &[u8]| {
    let journal = put(".m.journal", bytes);
    put(".m.partial", &vec![7; manifest().file_bytes() as usize]);
    let target = journal.with_file_name("m");
    let Ok(Some(unfinished)) = Unfinished::find(&target) else { return };
    if let Ok((writer, _)) = TensorFileWriter::resume(unfinished, manifest(), Overwrite::Refuse) {
        let _ = writer.leave();
    }
    assert!(!target.exists());
});
