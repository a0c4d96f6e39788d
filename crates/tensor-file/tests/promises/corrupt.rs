//! A damaged or hostile file is refused for the right reason; no input makes the reader panic.

use crate::common::{header_end, put, raw_file, two_tensors};
use proptest::prelude::*;
use roundwise_tensor_file::{Checkpoint, TensorFileError, TensorFileErrorKind as Kind};

fn open_raw(file: &[u8]) -> Result<Checkpoint, TensorFileError> {
    let folder = tempfile::tempdir().unwrap();
    Checkpoint::open(&put(folder.path(), "model.safetensors", file))
}

/// (dtype, shape, data) of every tensor, in data order: what survives a change of names.
fn contents(checkpoint: &Checkpoint) -> Vec<(String, Vec<u64>, Vec<u8>)> {
    let mut contents: Vec<_> = checkpoint
        .tensors()
        .iter()
        .map(|tensor| {
            let data = checkpoint.read(tensor).unwrap();
            (tensor.dtype.to_string(), tensor.shape.clone(), data)
        })
        .collect();
    contents.sort_by(|a, b| a.2.cmp(&b.2));
    contents
}

/// The contract: after one flipped bit in the length or the header, the file is refused, or it
/// opens with the same dtypes, shapes and data, and only texts (a name, metadata) differ. Texts
/// have no checksum, so no reader can notice those.
#[test]
fn a_flipped_header_bit_is_refused_or_changes_only_text() {
    let whole = two_tensors();
    let expected = contents(&open_raw(&whole).unwrap());
    let mut accepted = 0;
    for bit in 0..8 * header_end(&whole) {
        let mut file = whole.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        if let Ok(checkpoint) = open_raw(&file) {
            accepted += 1;
            assert_eq!(contents(&checkpoint), expected, "bit {bit}");
        }
    }
    // "a", "b", "format", "pt" and "__metadata__" have 22 characters.
    assert!((1..=22 * 8).contains(&accepted), "{accepted} accepted");
}

#[test]
fn a_flipped_index_bit_is_refused_or_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "only.safetensors", two_tensors());
    let index = br#"{"metadata":{"total_size":35},"weight_map":{"a":"only.safetensors"}}"#;
    for bit in 0..8 * index.len() {
        let mut flipped = index.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let path = put(folder.path(), "model.safetensors.index.json", &flipped);
        if let Ok(checkpoint) = Checkpoint::open(&path) {
            assert_eq!(checkpoint.tensors().len(), 2, "bit {bit}");
        }
    }
}

fn entry(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

fn object(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

macro_rules! refused {
    ($file:expr, $kind:pat $(if $guard:expr)?) => {{
        let error = open_raw($file).expect_err("hostile");
        assert!(matches!(error.kind(), $kind $(if $guard)?), "{error:?}");
        error
    }};
}

/// [`refused!`] for one tensor entry over 8 bytes of data.
macro_rules! entry_refused {
    ($dtype:expr, $shape:expr, $begin:expr, $end:expr, $kind:pat) => {{
        let header = object(&[entry("w", $dtype, $shape, $begin, $end)]);
        let error = refused!(&raw_file(header.as_bytes(), &[0; 8]), $kind);
        assert_eq!(error.tensor(), Some("w"));
    }};
}

#[test]
fn hostile_lengths() {
    for claim in [1_u64 << 63, u64::MAX, 100_000_001] {
        let mut file = raw_file(b"{}", b"");
        file[..8].copy_from_slice(&claim.to_le_bytes());
        refused!(&file, Kind::HeaderTooLong { found, .. } if *found == claim);
    }
    let mut file = raw_file(b"{}", b"");
    file[0] = 3;
    refused!(&file, Kind::HeaderPastEnd { header_bytes: 3, available_bytes: 2 });
    refused!(b"", Kind::TooShort { found: 0 });
    refused!(&[0; 8], Kind::HeaderStart { .. });
}

#[test]
fn other_formats_are_named() {
    let pickle = b"\x80\x02}q\x00(X\x01\x00\x00\x00\x00\x00";
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let page = b"<!DOCTYPE html><html>";
    for file in [pickle.as_slice(), lfs, page] {
        refused!(file, Kind::NotSafetensors { .. });
    }
    refused!(b"PK\x03\x04\x00\x00\x08\x08", Kind::Zip { .. });
    refused!(b"GGUF\x03\0\0\0", Kind::Gguf { .. });
    let message = refused!(lfs, Kind::NotSafetensors { .. }).to_string();
    assert!(
        message.ends_with(
            "is a Git LFS pointer, not safetensors\n  fetch the real file: `git lfs pull`"
        )
    );
}

#[test]
fn hostile_json() {
    refused!(&raw_file(b" {}", b""), Kind::HeaderStart { found: b' ' });
    refused!(&raw_file(b"[]", b""), Kind::HeaderStart { found: b'[' });
    refused!(&raw_file(b"{\"\xff\":1}", b""), Kind::HeaderUtf8 { .. });
    let deep_value = format!(r#"{{"w":{}"#, "[".repeat(1_000_000));
    let deep_shape = format!(r#"{{"w":{{"dtype":"U8","shape":{}"#, "[".repeat(1_000_000));
    let deep_object = r#"{"w":"#.repeat(200_000);
    for json in [
        "{",
        "{}x",
        "{}{}",
        "{\"w\":null}",
        r#"{"w":{"dtype":"U8","shape":[1]}}"#,
        r#"{"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#,
        r#"{"w":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}"#,
        r#"{"w":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}}"#,
        r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}"#,
        r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]}}"#,
        r#"{"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
        r#"{"__metadata__":"text"}"#,
        r#"{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
        &deep_value,
        &deep_shape,
        &deep_object,
    ] {
        refused!(&raw_file(json.as_bytes(), &[0]), Kind::HeaderJson { .. });
    }
}

/// A defect that can be read past is refused with the way out, and read when that is asked for.
#[test]
fn defects_that_can_be_mended_are_listed() {
    let header = br#"{"__metadata__":{"format":"pt","step":1200,"list":[1, "a"]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let file = raw_file(header, &[7, 0, 0]);
    let error = refused!(&file, Kind::TrailingBytes { end: 1, data_bytes: 3 });
    assert!(error.to_string().contains("a repaired copy would end"), "{error}");
    let error = refused!(&file[..file.len() - 2], Kind::MetadataValue { .. });
    let text = error.to_string();
    assert!(
        text.contains("`__metadata__`.`step` is the number 1200, expected a string\n  "),
        "{text}"
    );

    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "model.safetensors", &file);
    let (checkpoint, defects) = Checkpoint::open_tolerant(&path).unwrap();
    assert_eq!(checkpoint.read(checkpoint.get("w").unwrap()).unwrap(), [7]);
    assert_eq!(checkpoint.metadata()["step"], "1200");
    assert_eq!(checkpoint.metadata()["list"], r#"[1,"a"]"#);
    let found: Vec<String> = defects.iter().map(|defect| defect.kind().to_string()).collect();
    assert_eq!(
        found,
        [
            "2 bytes follow the last tensor, which ends at 1",
            "`__metadata__`.`step` is the number 1200, expected a string",
            "`__metadata__`.`list` is a list, expected a string",
        ]
    );
    assert!(defects.iter().all(|defect| defect.kind().remedy().is_some()));
    let hole = r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    let path = put(folder.path(), "hole.safetensors", raw_file(hole.as_bytes(), &[0, 7, 0]));
    assert!(matches!(Checkpoint::open_tolerant(&path).unwrap_err().kind(), Kind::Hole { .. }));
}

#[test]
fn repeated_names() {
    let twice = object(&[entry("w", "U8", "[1]", 0, 1), entry("w", "U8", "[1]", 1, 2)]);
    refused!(&raw_file(twice.as_bytes(), &[0; 2]), Kind::DuplicateTensor);
    let escaped = object(&[entry("w", "U8", "[1]", 0, 1), entry(r"\u0077", "U8", "[1]", 1, 2)]);
    refused!(&raw_file(escaped.as_bytes(), &[0; 2]), Kind::DuplicateTensor);
    let key_twice = br#"{"__metadata__":{"k":"1","k":"1"}}"#;
    refused!(&raw_file(key_twice, b""), Kind::DuplicateMetadata { key } if key == "k");
    let object_twice = br#"{"__metadata__":{"k":"1"},"__metadata__":{"l":"1"}}"#;
    refused!(&raw_file(object_twice, b""), Kind::DuplicateMetadata { key } if key == "__metadata__");
}

#[test]
fn impossible_tensors() {
    entry_refused!("F33", "[2]", 0, 8, Kind::UnknownDtype { .. });
    entry_refused!("f32", "[2]", 0, 8, Kind::UnknownDtype { .. });
    entry_refused!("F32", "[3]", 0, 8, Kind::DataLength { found: 8, expected: 12, .. });
    entry_refused!("U8", "[8]", 8, 0, Kind::OffsetsReversed { begin: 8, end: 0 });
    entry_refused!("U8", "[9]", 0, 9, Kind::OffsetsPastEnd { end: 9, data_bytes: 8 });
    entry_refused!("U8", "[1]", u64::MAX - 1, u64::MAX, Kind::OffsetsPastEnd { .. });
    entry_refused!("U8", "[4294967296,4294967296]", 0, 8, Kind::ShapeOverflow { .. });
    entry_refused!("F64", "[2305843009213693952]", 0, 8, Kind::ShapeOverflow { .. });
    entry_refused!("F4", "[15]", 0, 8, Kind::FractionalBytes { bits: 60, .. });
    let deep = format!("[8{}]", ",1".repeat(64));
    entry_refused!("U8", &deep, 0, 8, Kind::TooManyDimensions { found: 65, limit: 64 });
    let deepest = format!("[8{}]", ",1".repeat(63));
    let header = object(&[entry("w", "U8", &deepest, 0, 8)]);
    assert!(open_raw(&raw_file(header.as_bytes(), &[0; 8])).is_ok());
}

#[test]
fn data_that_does_not_tile() {
    let two = |a: (u64, u64), b: (u64, u64)| {
        let length = |(begin, end): (u64, u64)| format!("[{}]", end - begin);
        let entries =
            [entry("a", "U8", &length(a), a.0, a.1), entry("b", "U8", &length(b), b.0, b.1)];
        raw_file(object(&entries).as_bytes(), &[0; 8])
    };
    assert!(open_raw(&two((0, 4), (4, 8))).is_ok());
    assert!(open_raw(&two((4, 8), (0, 4))).is_ok());
    assert!(open_raw(&two((0, 0), (0, 8))).is_ok());
    assert!(open_raw(&two((8, 8), (0, 8))).is_ok());
    refused!(&two((0, 5), (4, 8)), Kind::Overlap { begin: 4, expected: 5, other } if other == "a");
    refused!(&two((0, 8), (0, 8)), Kind::Overlap { begin: 0, expected: 8, .. });
    refused!(&two((0, 8), (4, 4)), Kind::Overlap { begin: 4, expected: 8, .. });
    refused!(&two((0, 3), (4, 8)), Kind::Hole { begin: 4, expected: 3 });
    refused!(&two((1, 4), (4, 8)), Kind::Hole { begin: 1, expected: 0 });
    refused!(&two((0, 4), (4, 7)), Kind::TrailingBytes { end: 7, data_bytes: 8 });
    refused!(&raw_file(b"{}", b"x"), Kind::TrailingBytes { end: 0, data_bytes: 1 });
}

#[test]
fn messages_say_file_tensor_found_expected() {
    let header = object(&[entry(r"blk.w\u001b[2J", "F32", "[2,4]", 0, 12)]);
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "model.safetensors", raw_file(header.as_bytes(), &[0; 12]));
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    let expected =
        r"model.safetensors: tensor `blk.w\u{1b}[2J`: data is 12 bytes, F32 [2, 4] needs 32";
    let (problem, help) = message.split_once("\n  ").unwrap();
    assert!(problem.ends_with(expected) && help.contains("fetch it again"), "{message}");
}

proptest! {
    #[test]
    fn noise_never_panics(header in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open_raw(&raw_file(&header, &[0; 16]));
    }

    #[test]
    fn json_noise_never_panics(
        pieces in prop::collection::vec(
            prop::sample::select(&[
                "{", "}", "[", "]", ",", ":", "\"w\"", "\"dtype\"", "\"shape\"", "\"U8\"", "0", "8",
                "\"data_offsets\"", "\"__metadata__\"", "\"F32\"", "null", "-1", "1e9", "\"\\u0000\"",
            ][..]),
            0..40,
        )
    ) {
        let _ = open_raw(&raw_file(format!("{{{}", pieces.concat()).as_bytes(), &[0; 8]));
    }
}
