//! A file that was cut short is refused, without a panic and without memory for what is missing.

use crate::common::{header_end, put, raw_file, two_tensors};
use roundwise_tensor_file::{Checkpoint, TensorFileErrorKind as Kind};

#[test]
fn every_prefix_is_refused() {
    let whole = two_tensors();
    let folder = tempfile::tempdir().unwrap();
    for length in 0..whole.len() {
        let path = put(folder.path(), "cut.safetensors", &whole[..length]);
        let error = Checkpoint::open(&path).expect_err("a prefix is not a file");
        let is_expected = match error.kind() {
            Kind::TooShort { found } => length < 8 && *found == length as u64,
            Kind::HeaderPastEnd { header_bytes, available_bytes } => {
                length < header_end(&whole)
                    && *header_bytes == (header_end(&whole) - 8) as u64
                    && *available_bytes == length as u64 - 8
            }
            Kind::OffsetsPastEnd { data_bytes, .. } => {
                *data_bytes == (length - header_end(&whole)) as u64
            }
            _ => false,
        };
        assert!(is_expected, "{length} bytes: {error:?}");
    }
    let path = put(folder.path(), "whole.safetensors", &whole);
    assert_eq!(Checkpoint::open(&path).unwrap().tensors().len(), 2);
}

#[test]
fn every_prefix_of_an_index_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "only.safetensors", two_tensors());
    let index = br#"{"metadata":{"total_size":35},"weight_map":{"a":"only.safetensors"}}"#;
    for length in 0..index.len() {
        let path = put(folder.path(), "model.safetensors.index.json", &index[..length]);
        let error = Checkpoint::open(&path).expect_err("a prefix is not an index");
        assert!(matches!(error.kind(), Kind::IndexJson { .. }), "{length} bytes: {error:?}");
    }
}

#[test]
fn a_file_cut_while_it_is_open_is_noticed() {
    let whole = two_tensors();
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "model.safetensors", &whole);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(whole.len() as u64 - 1).unwrap();

    assert!(checkpoint.read(checkpoint.get("a").unwrap()).is_ok());
    let error = checkpoint.read(checkpoint.get("b").unwrap()).unwrap_err();
    assert_eq!(error.tensor(), Some("b"));
    let lengths = (whole.len() as u64 - 1, whole.len() as u64);
    assert!(
        matches!(error.kind(), Kind::Truncated { found, expected } if (*found, *expected) == lengths),
        "{error:?}"
    );
}

/// Set where [`claims_are_not_allocated`] can do no harm when it fails.
const SMALL_MEMORY: &str = "ROUNDWISE_TEST_SMALL_MEMORY";

/// Runs [`claims_are_not_allocated`] again in a process that may not have 1 GiB.
#[cfg(target_os = "linux")]
#[test]
fn claims_cost_no_memory() {
    let this_program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 1048576 && exec \"$0\" \"$@\""])
        .arg(this_program)
        .env(SMALL_MEMORY, "1")
        .args(["--exact", "truncated::claims_are_not_allocated", "--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "run by `claims_cost_no_memory`, in a small address space"]
fn claims_are_not_allocated() {
    if std::env::var_os(SMALL_MEMORY).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for claim in [1 << 63, u64::MAX, 1 << 40, 100_000_001, 100_000_000, 1000] {
        let mut file = raw_file(b"{}", b"");
        file[..8].copy_from_slice(&u64::to_le_bytes(claim));
        let path = put(folder.path(), "claim.safetensors", &file);
        Checkpoint::open(&path).expect_err("the header is not there");
    }
    // Zeros that take no disk space: the file has paid, the memory is not there all the same.
    let tebibyte = 1_u64 << 40;
    let header =
        format!(r#"{{"big":{{"dtype":"U8","shape":[{tebibyte}],"data_offsets":[0,{tebibyte}]}}}}"#);
    let path = put(folder.path(), "sparse.safetensors", raw_file(header.as_bytes(), b""));
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    if file.set_len(8 + header.len() as u64 + tebibyte).is_err() {
        return; // A file system without sparse files this long.
    }
    let checkpoint = Checkpoint::open(&path).unwrap();
    let error = checkpoint.read(&checkpoint.tensors()[0]).unwrap_err();
    assert!(matches!(error.kind(), Kind::OutOfMemory { bytes } if *bytes == tebibyte));
    let mut last = [1];
    checkpoint.read_into(&checkpoint.tensors()[0], tebibyte - 1, &mut last).unwrap();
    assert_eq!(last, [0]);
}
