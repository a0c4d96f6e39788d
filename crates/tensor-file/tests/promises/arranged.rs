//! Tensors that are made of rows of others are read as if the file held them so.

use std::collections::BTreeMap;

use crate::common::{f32s, put, raw_file};
use roundwise_tensor_file::{
    Arranged, Checkpoint, RowOrder, Rows, TensorFileError, TensorFileErrorKind as Kind,
};
use tempfile::TempDir;

fn whole(tensor: &str, rows: u64) -> Rows {
    Rows { tensor: tensor.to_owned(), rows: 0..rows, order: RowOrder::AsStored }
}

fn arranged(name: &str, shape: &[u64], parts: Vec<Rows>) -> Arranged {
    Arranged { name: name.to_owned(), shape: shape.to_vec(), parts }
}

/// `a` 4 × 2 counts from 0, `b` 2 × 2 from 100, `half` is F16.
fn file() -> (TempDir, Checkpoint) {
    let header = br#"{"a":{"dtype":"F32","shape":[4,2],"data_offsets":[0,32]},
        "b":{"dtype":"F32","shape":[2,2],"data_offsets":[32,48]},
        "half":{"dtype":"F16","shape":[2,2],"data_offsets":[48,56]}}"#;
    let a = f32s(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let b = f32s(&[100.0, 101.0, 102.0, 103.0]);
    let bytes = raw_file(header, &[a, b, vec![0; 8]].concat());
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&put(folder.path(), "m.safetensors", bytes)).unwrap();
    (folder, checkpoint)
}

fn seen(tensors: Vec<Arranged>) -> Result<Checkpoint, TensorFileError> {
    let (_folder, checkpoint) = file();
    checkpoint.arranged(tensors, BTreeMap::new())
}

fn numbers(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let bytes = checkpoint.read(checkpoint.get(name).unwrap()).unwrap();
    bytes.chunks(4).map(|it| f32::from_le_bytes(it.try_into().unwrap())).collect()
}

#[test]
fn rows_are_joined_swapped_reordered_and_renamed() {
    let rows = |range, order| Rows { tensor: "a".to_owned(), rows: range, order };
    let checkpoint = seen(vec![
        arranged("joined", &[6, 2], vec![whole("a", 4), whole("b", 2)]),
        arranged("renamed", &[2, 2, 1, 1], vec![whole("b", 2)]),
        arranged(
            "swapped",
            &[4, 2],
            vec![rows(2..4, RowOrder::AsStored), rows(0..2, RowOrder::AsStored)],
        ),
        arranged("even", &[4, 2], vec![rows(0..4, RowOrder::EvenFirst(4))]),
        arranged("turned", &[4, 2], vec![rows(0..4, RowOrder::Interleaved(4))]),
        arranged("part", &[2, 2], vec![rows(1..3, RowOrder::AsStored)]),
    ])
    .unwrap();
    let expected: [(&str, &[f32]); 6] = [
        ("joined", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 100.0, 101.0, 102.0, 103.0]),
        ("renamed", &[100.0, 101.0, 102.0, 103.0]),
        ("swapped", &[4.0, 5.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0]),
        ("even", &[0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]),
        ("turned", &[0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]),
        ("part", &[2.0, 3.0, 4.0, 5.0]),
    ];
    for (name, numbers_expected) in expected {
        assert_eq!(numbers(&checkpoint, name), numbers_expected, "{name}");
        let header = checkpoint.get(name).unwrap();
        assert_eq!((header.stored_as(), header.stored_bytes()), ("F32", header.byte_len()));
        // Any piece of it is that piece of the whole.
        let all = checkpoint.read(header).unwrap();
        for offset in 0..all.len() {
            for end in offset..=all.len() {
                let mut part = vec![0; end - offset];
                checkpoint.read_into(header, offset as u64, &mut part).unwrap();
                assert_eq!(part, all[offset..end], "{name} {offset}..{end}");
            }
        }
        let past = checkpoint.read_into(header, all.len() as u64, &mut [0]).unwrap_err();
        assert!(matches!(past.kind(), Kind::PartOutOfRange { .. }), "{past}");
    }
    assert!(checkpoint.get("a").is_none());
    assert_eq!(checkpoint.get("renamed").unwrap().shape, [2, 2, 1, 1]);
}

#[test]
fn parts_that_do_not_go_together_are_refused() {
    let refused = |tensors| seen(tensors).unwrap_err().to_string();
    let one = |parts| refused(vec![arranged("x", &[6, 2], parts)]);
    assert!(one(vec![whole("c", 2)]).contains("`c`, which is missing"));
    assert!(one(vec![whole("a", 4), whole("half", 2)]).contains("`half`, which is F16"));
    assert!(one(vec![whole("a", 5)]).contains("rows 0..5 of `a`, which has 4"));
    assert!(one(vec![whole("a", 4)]).contains("data is 32 bytes"));
    assert!(one(vec![]).contains("no part"));
    let odd = Rows { order: RowOrder::EvenFirst(3), ..whole("a", 4) };
    assert!(one(vec![odd]).contains("rows 0..4"));
    let twice = vec![arranged("x", &[4, 2], vec![whole("a", 4)]); 2];
    assert!(refused(twice).contains("twice"));
}
