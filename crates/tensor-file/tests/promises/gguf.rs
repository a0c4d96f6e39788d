//! GGUF is read as the numbers that llama.cpp computes with.

use std::path::{Path, PathBuf};

use crate::common::{Gguf, f32s, put, q8_0};
use roundwise_tensor_file::{Checkpoint, Dtype, GgufValue, TensorFileErrorKind as Kind};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn read(checkpoint: &Checkpoint, name: &str) -> (Dtype, Vec<u64>, Vec<u8>) {
    let tensor = checkpoint.get(name).unwrap_or_else(|| panic!("no `{name}`"));
    (tensor.dtype, tensor.shape.clone(), checkpoint.read(tensor).unwrap())
}

#[track_caller]
fn refused(file: Vec<u8>) -> (Kind, String) {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(&put(folder.path(), "m.gguf", file)).expect_err("not read");
    let kind = match error.kind() {
        Kind::Gguf { problem, offset } => Kind::Gguf { problem, offset: *offset },
        Kind::GgufType { found, name } => Kind::GgufType { found: *found, name },
        Kind::GgufPart { parts } => Kind::GgufPart { parts: *parts },
        other => panic!("{other:?}"),
    };
    (kind, error.to_string())
}

/// The `gguf` package decoded the expected numbers; see `fixtures/scripts/gguf_blocks.py`.
#[test]
fn every_block_type_gives_the_bits_of_the_gguf_package() {
    let blocks = Checkpoint::open(&golden("gguf-blocks.gguf")).unwrap();
    let expected = Checkpoint::open(&golden("gguf-blocks.safetensors")).unwrap();
    assert_eq!(blocks.tensors().len(), 13);
    for tensor in blocks.tensors() {
        let name = &tensor.name;
        assert_eq!(tensor.stored_as(), name);
        let bytes = read(&expected, name).2;
        assert_eq!(
            read(&blocks, name),
            (Dtype::F32, tensor.shape.clone(), bytes.clone()),
            "{name}"
        );
        assert_eq!(expected.get(name).unwrap().shape, tensor.shape, "{name}");
        for (offset, length) in [(0, 1), (3, 130), (127, 2), (511, 1), (200, 312), (512, 0)] {
            let mut part = vec![0; length];
            blocks.read_into(tensor, offset as u64, &mut part).unwrap();
            assert_eq!(part, bytes[offset..offset + length], "{name} {offset}..+{length}");
        }
    }
}

#[test]
fn plain_numbers_and_original_shapes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let shape = [4_i32, 16].map(i32::to_le_bytes).concat();
    let file = Gguf::new()
        .key(
            "comfy.gguf.orig_shape.o",
            9,
            &[&[5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], &shape[..]].concat(),
        )
        .tensor("f", &[2, 3], 0, &f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        .tensor("h", &[1], 1, &[0, 0x3c])
        .tensor("b", &[1], 30, &[0x80, 0x3f])
        .tensor("d", &[1], 28, &1.5_f64.to_le_bytes())
        .tensor("q", &[32, 2], 8, &q8_0())
        .tensor("o", &[32, 2], 8, &q8_0())
        .bytes();
    let path = put(folder.path(), "m.gguf", file);
    for opened in [&path, folder.path()] {
        let checkpoint = Checkpoint::open(opened).unwrap();
        let f32 = f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(read(&checkpoint, "f"), (Dtype::F32, vec![3, 2], f32));
        assert_eq!(read(&checkpoint, "h"), (Dtype::F16, vec![1], vec![0, 0x3c]));
        assert_eq!(read(&checkpoint, "b"), (Dtype::BF16, vec![1], vec![0x80, 0x3f]));
        assert_eq!(read(&checkpoint, "d"), (Dtype::F64, vec![1], 1.5_f64.to_le_bytes().to_vec()));
        let numbers = [0.5_f32, 0.25]
            .map(|scale| f32s(&(-16..16).map(|code| scale * code as f32).collect::<Vec<_>>()))
            .concat();
        assert_eq!(read(&checkpoint, "q"), (Dtype::F32, vec![2, 32], numbers.clone()));
        assert_eq!(read(&checkpoint, "o"), (Dtype::F32, vec![4, 16], numbers));
    }
}

#[test]
fn entries_of_the_header_are_there_for_recognisers() {
    let checkpoint = Checkpoint::open(&golden("gguf-blocks.gguf")).unwrap();
    let entries = checkpoint.gguf_metadata();
    assert_eq!(entries["general.architecture"].as_text(), Some("llama"));
    assert_eq!(entries["llama.attention.head_count"].as_u64(), Some(8));
    let heads = entries["llama.attention.head_count_kv"].as_list().unwrap();
    assert!(heads.iter().map(GgufValue::as_u64).eq([Some(4), Some(2)]));
    assert_eq!(entries["llama.attention.layer_norm_rms_epsilon"].as_f64(), Some(0.5));
    assert_eq!(entries["llama.attention.causal"], GgufValue::Bool(true));
    assert!(!entries.contains_key("tokenizer.ggml.tokens"), "2000 elements");
    assert!(checkpoint.unread_entries() > entries.len());
}

#[test]
fn entries_are_kept_within_their_limit() {
    let folder = tempfile::tempdir().unwrap();
    let long = [&(60_u64 << 10).to_le_bytes()[..], &vec![b'x'; 60 << 10]].concat();
    let file = (0..200).fold(Gguf::new(), |file, at| file.key(&format!("k{at}"), 8, &long)).bytes();
    let checkpoint = Checkpoint::open(&put(folder.path(), "m.gguf", file)).unwrap();
    let kept = checkpoint.gguf_metadata();
    assert!((60..70).contains(&kept.len()), "{}", kept.len());
    assert_eq!(checkpoint.unread_entries(), 200);
    let endless = (0..6).flat_map(|_| [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).collect::<Vec<u8>>();
    assert!(matches!(refused(Gguf::new().key("k", 9, &endless).bytes()).0, Kind::Gguf { .. }));
}

#[test]
fn what_is_not_read_is_refused_by_name_with_a_way_out() {
    let (kind, text) = refused(Gguf::new().tensor("k", &[256], 16, &[0; 66]).bytes());
    assert!(matches!(kind, Kind::GgufType { found: 16, name: "IQ2_XXS" }), "{kind:?}");
    assert!(text.contains("tensor `k`: stored as IQ2_XXS (GGUF type 16)"), "{text}");
    assert!(text.contains("llama-quantize --allow-requantize"), "{text}");
    let (kind, _) = refused(Gguf::new().tensor("k", &[256], 99, &[0; 66]).bytes());
    assert!(matches!(kind, Kind::GgufType { found: 99, .. }), "{kind:?}");
    let (kind, _) = refused(Gguf::new().tensor("k", &[16, 4], 8, &q8_0()).bytes());
    assert!(matches!(kind, Kind::Gguf { problem: "rows that are no whole number of blocks", .. }));
    for (kind, count) in [(2, &[3, 0][..]), (4, &[3, 0, 0, 0])] {
        let (kind, text) = refused(Gguf::new().key("split.count", kind, count).bytes());
        assert!(matches!(kind, Kind::GgufPart { parts: 3 }), "{kind:?}");
        assert!(text.contains("is one of 3 parts of a model"), "{text}");
        assert!(text.contains("llama-gguf-split --merge"), "{text}");
    }
    let mut big_endian = Gguf::new().bytes();
    big_endian[4..8].reverse();
    let (kind, _) = refused(big_endian);
    assert!(matches!(kind, Kind::Gguf { problem: "its numbers are big-endian", .. }), "{kind:?}");
}
