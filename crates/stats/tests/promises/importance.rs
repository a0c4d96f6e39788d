//! Importance matrices of llama.cpp, put together by hand.

use crate::common::put;
use roundwise_stats::{Knowledge, Merge, Statistics, StatsError, StatsErrorKind as Kind};
use roundwise_tensor_file::{Overwrite, TensorFileErrorKind};
use roundwise_testkit::files::f32_bytes;

/// `i32 n; (i32 length, name, i32 calls, i32 n_values, f32 values)…`, without the trailer.
fn legacy(entries: &[(&str, i32, &[f32])]) -> Vec<u8> {
    let mut file = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, calls, values) in entries {
        file.extend((name.len() as i32).to_le_bytes());
        file.extend(name.bytes());
        file.extend(calls.to_le_bytes());
        file.extend((values.len() as i32).to_le_bytes());
        file.extend(f32_bytes(values));
    }
    file
}

fn trailer() -> Vec<u8> {
    let mut bytes = 9_i32.to_le_bytes().to_vec();
    bytes.extend(4_i32.to_le_bytes());
    bytes.extend(b"wiki");
    bytes
}

const TWO: [(&str, i32, &[f32]); 2] =
    [("blk.0.attn_q.weight", 4, &[8.0, 0.0, 2.0]), ("output.weight", 2, &[1.0])];

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

type GgufTensor<'a> = (&'a str, &'a [u64], &'a [f32]);

/// Version 3, alignment 32, no padding after the last tensor.
fn gguf(kind: &str, tensors: &[GgufTensor<'_>]) -> Vec<u8> {
    let strings = [&8_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &text("wiki.txt")].concat();
    let keys = [
        key("general.type", 8, &text(kind)),
        key("imatrix.datasets", 9, &strings),
        key("imatrix.chunk_count", 4, &7_u32.to_le_bytes()),
        key("some.numbers", 9, &[&[4, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0][..], &[0; 8]].concat()),
    ];
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((keys.len() as u64).to_le_bytes());
    file.extend(keys.concat());
    let mut data = Vec::new();
    for (name, extents, values) in tensors {
        data.resize(data.len().next_multiple_of(32), 0);
        file.extend(text(name));
        file.extend((extents.len() as u32).to_le_bytes());
        extents.iter().for_each(|extent| file.extend(extent.to_le_bytes()));
        file.extend(0_u32.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(f32_bytes(values));
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

const GGUF: [GgufTensor<'_>; 6] = [
    ("blk.0.attn_q.weight.in_sum2", &[3, 1], &[8.0, 0.0, 2.0]),
    ("blk.0.attn_q.weight.counts", &[1, 1], &[4.0]),
    ("blk.0.attn_q.weight.in_sum", &[3, 1], &[-4.0, 0.0, 2.0]),
    ("blk.0.ffn_up_exps.weight.in_sum2", &[2, 3], &[1.0, 2.0, 0.0, 0.0, 5.0, 6.0]),
    ("blk.0.ffn_up_exps.weight.counts", &[1, 3], &[1.0, 0.0, 2.0]),
    ("notes", &[1], &[1.0]),
];

fn open(name: &str, file: &[u8]) -> Result<Statistics, StatsError> {
    let folder = tempfile::tempdir().unwrap();
    Statistics::open(&put(folder.path(), name, file))
}

fn modules(statistics: &Statistics) -> Vec<&str> {
    statistics.layers().iter().map(|layer| layer.module.as_str()).collect()
}

#[test]
fn a_legacy_matrix_is_a_diagonal() {
    let whole = [legacy(&TWO), trailer()].concat();
    let with_call = [&legacy(&TWO)[..], &9_i32.to_le_bytes()].concat();
    for file in [whole, legacy(&TWO), with_call] {
        let read = open("a.dat", &file).unwrap();
        assert_eq!(modules(&read), ["blk.0.attn_q", "output"]);
        let layer = read.layer("blk.0.attn_q").unwrap();
        assert_eq!(layer.diagonal(), [2.0, 0.0, 0.5]);
        assert_eq!((layer.count(), layer.mean()), (4 * 512, None));
        assert_eq!(layer.knowledge(), Knowledge::Diagonal);
        assert_eq!((read.layers()[0].rows, read.layers()[0].columns), (0, 3));
    }
}

#[test]
fn a_gguf_matrix_is_a_diagonal_with_a_mean() {
    let read = open("a.gguf", &gguf("imatrix", &GGUF)).unwrap();
    // The second expert was never asked.
    assert_eq!(modules(&read), ["blk.0.attn_q", "blk.0.ffn_up_exps.0", "blk.0.ffn_up_exps.2"]);
    let layer = read.layer("blk.0.attn_q").unwrap();
    assert_eq!(layer.diagonal(), [2.0, 0.0, 0.5]);
    assert_eq!((layer.count(), layer.mean()), (4, Some(&[-1.0, 0.0, 0.5][..])));
    let expert = read.layer("blk.0.ffn_up_exps.2").unwrap();
    assert_eq!((expert.diagonal(), expert.count()), (&[2.5, 3.0][..], 2));
    assert!(!read.has_mean("blk.0.ffn_up_exps.2"));
}

#[test]
fn a_matrix_becomes_a_side_car_by_merging() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "a.imatrix", &gguf("imatrix", &GGUF));
    let sources = [Statistics::open(&path).unwrap()];
    let path = folder.path().join("a.stats.safetensors");
    Merge::plan(&sources).unwrap().write(&path, Overwrite::Refuse).unwrap();
    let written = Statistics::open(&path).unwrap();
    assert_eq!(written.layers(), sources[0].layers());
    for module in modules(&sources[0]) {
        assert_eq!(written.layer(module).unwrap(), sources[0].layer(module).unwrap());
    }
}

#[test]
fn every_prefix_is_refused() {
    let entries = legacy(&TWO);
    let whole = [entries.clone(), trailer()].concat();
    // Older programs write no trailer, or only the number of the last call.
    for length in (0..whole.len()).filter(|at| ![entries.len(), entries.len() + 4].contains(at)) {
        open("a.dat", &whole[..length]).expect_err("a prefix is not a file");
    }
    let whole = gguf("imatrix", &GGUF);
    for length in 0..whole.len() {
        open("a.gguf", &whole[..length]).expect_err("a prefix is not a file");
    }
}

#[test]
fn no_flipped_bit_panics() {
    let folder = tempfile::tempdir().unwrap();
    for (name, whole) in [("a.dat", legacy(&TWO)), ("a.gguf", gguf("imatrix", &GGUF))] {
        for bit in 0..8 * whole.len() {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = Statistics::open(&put(folder.path(), name, &file)) {
                modules(&read).iter().for_each(|module| drop(read.layer(module)));
            }
        }
    }
}

#[test]
fn other_files_are_told_apart() {
    let error = open("model.gguf", &gguf("model", &[])).unwrap_err();
    assert!(matches!(error.kind(), Kind::NotImportanceMatrix { found: Some(_) }), "{error}");
    assert!(error.to_string().contains("`llama-imatrix` makes one"), "{error}");
    let error = open("a.gguf", &gguf("imatrix", &[])).unwrap_err();
    assert!(matches!(error.kind(), Kind::Empty), "{error}");
    for junk in [&b""[..], b"PK\x03\x04 a zip file", b"<!DOCTYPE html>", &[0; 100], &[255; 100]] {
        let error = open("junk", junk).unwrap_err();
        assert!(matches!(error.kind(), Kind::UnknownContainer), "{error}");
    }
}

fn is_of_file(error: &StatsError, is: impl Fn(&TensorFileErrorKind) -> bool) -> bool {
    matches!(error.kind(), Kind::File(error) if is(error.kind()))
}

#[test]
fn broken_matrices_are_refused() {
    let refused = |tensors: &[GgufTensor<'_>]| open("a", &gguf("imatrix", tensors)).unwrap_err();
    assert!(matches!(refused(&GGUF[..1]).kind(), Kind::MissingPart { part: "counts" }));
    assert!(matches!(refused(&GGUF[1..2]).kind(), Kind::MissingPart { part: "in_sum2" }));
    let two = ("blk.0.attn_q.weight.counts", &[1, 2][..], &[1.0, 1.0][..]);
    assert!(matches!(refused(&[GGUF[0], two]).kind(), Kind::Length { part: "counts", .. }));
    let wrong = ("blk.0.attn_q.weight.counts", &[1, 1][..], &[f32::NAN][..]);
    assert!(matches!(refused(&[GGUF[0], wrong]).kind(), Kind::NotFinite { .. }));
    let error = refused(&[GGUF[5], GGUF[5]]);
    assert!(is_of_file(&error, |kind| matches!(kind, TensorFileErrorKind::DuplicateTensor)));
    let deep = ("blk.0.attn_q.weight.counts", &[1, 1, 2][..], &[1.0, 1.0][..]);
    assert!(matches!(refused(&[GGUF[0], deep]).kind(), Kind::PartShape { part: "counts", .. }));
    let none = ("blk.0.attn_q.weight.in_sum2", &[0, 1][..], &[][..]);
    assert!(matches!(refused(&[none, GGUF[1]]).kind(), Kind::PartShape { part: "in_sum2", .. }));

    let read = open("a", &legacy(&[("x", 1, &[-1.0])]));
    assert!(matches!(read.unwrap().path().file_name(), Some(name) if name == "a"));
    let twice = legacy(&[("x", 1, &[1.0]), ("x.weight", 1, &[1.0])]);
    assert!(matches!(open("a", &twice).unwrap_err().kind(), Kind::Duplicate));
    let uncalled = legacy(&[("x", 0, &[1.0])]);
    assert!(matches!(open("a", &uncalled).unwrap_err().kind(), Kind::Field { .. }));
}

#[test]
fn claims_are_not_believed() {
    // A file of a few bytes that speaks of 2^60 tensors, keys, strings and values.
    let mut file = gguf("imatrix", &GGUF);
    for place in [8, 16] {
        let before: [u8; 8] = file[place..place + 8].try_into().unwrap();
        file[place..place + 8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
        open("a", &file).unwrap_err();
        file[place..place + 8].copy_from_slice(&before);
    }
    let huge = ("x.in_sum2", &[1 << 40, 1 << 40][..], &[][..]);
    let error = open("a", &gguf("imatrix", &[huge])).unwrap_err();
    assert!(is_of_file(&error, |kind| matches!(kind, TensorFileErrorKind::ShapeOverflow { .. })));
    let mut file = legacy(&TWO);
    file[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    assert!(matches!(open("a", &file).unwrap_err().kind(), Kind::UnknownContainer));
}
