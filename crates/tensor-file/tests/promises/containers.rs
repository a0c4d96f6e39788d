//! Files of other programs hold the same tensors; what is in them is never run.

use std::path::{Path, PathBuf};

use crate::common::put;
use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileErrorKind as Kind};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/pickled").join(name)
}

fn read(checkpoint: &Checkpoint, name: &str) -> (Dtype, Vec<u64>, Vec<u8>) {
    let tensor = checkpoint.get(name).unwrap_or_else(|| panic!("no `{name}`"));
    (tensor.dtype, tensor.shape.clone(), checkpoint.read(tensor).unwrap())
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[track_caller]
fn refused(path: &Path) -> Kind {
    let error = Checkpoint::open(path).expect_err("hostile");
    assert!(error.to_string().contains(&*path.file_name().unwrap().to_string_lossy()), "{error}");
    let text = error.to_string();
    match error.kind() {
        Kind::PickleCode { call } => Kind::PickleCode { call: call.clone() },
        Kind::NotContiguous { shape, strides } => {
            Kind::NotContiguous { shape: shape.clone(), strides: strides.clone() }
        }
        Kind::Zip { problem } => Kind::Zip { problem },
        Kind::Gguf { problem, offset } => Kind::Gguf { problem, offset: *offset },
        Kind::GgufType { found } => Kind::GgufType { found: *found },
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn what_torch_saves_is_read() {
    for name in ["state.pt", "legacy.pt", "nested.ckpt"] {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        assert_eq!(checkpoint.tensors().len(), 10, "{name}");
        let twelve: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let weight = (Dtype::F32, vec![3, 4], f32s(&twelve));
        assert_eq!(read(&checkpoint, "a.weight"), weight);
        assert_eq!(read(&checkpoint, "a.tied"), weight);
        assert_eq!(read(&checkpoint, "a.rows"), (Dtype::F32, vec![2, 4], f32s(&twelve[4..])));
        let half = [0x3c00_u16, 0xc000, 0x3800].map(u16::to_le_bytes).concat();
        assert_eq!(read(&checkpoint, "b.bias"), (Dtype::F16, vec![3], half));
        let bf16 = [0x4040_u16, 0x4080].map(u16::to_le_bytes).concat();
        assert_eq!(read(&checkpoint, "c.bf16"), (Dtype::BF16, vec![1, 2], bf16));
        assert_eq!(read(&checkpoint, "c.parameter"), (Dtype::F32, vec![1], f32s(&[7.0])));
        let ids = [1_i64, 2, 3].map(i64::to_le_bytes).concat();
        assert_eq!(read(&checkpoint, "d.ids"), (Dtype::I64, vec![3], ids));
        assert_eq!(read(&checkpoint, "d.flag"), (Dtype::Bool, vec![2], vec![1, 0]));
        assert_eq!(read(&checkpoint, "e.scalar"), (Dtype::F32, vec![], f32s(&[9.0])));
        assert_eq!(read(&checkpoint, "e.none"), (Dtype::F32, vec![0, 5], vec![]));
    }
    let checkpoint = Checkpoint::open(&fixture("fp8.pt")).unwrap();
    assert_eq!(read(&checkpoint, "w"), (Dtype::F8E4M3, vec![2], vec![0x38, 0xfe]));
}

#[test]
fn code_in_a_pickle_is_named_and_not_run() {
    let kind = refused(&fixture("command.pt"));
    assert!(matches!(&kind, Kind::PickleCode { call } if call == "posix.system"), "{kind:?}");
    assert!(!Path::new("/tmp/pickle-was-run").exists());
}

#[test]
fn what_cannot_be_read_as_it_lies_is_refused() {
    assert!(matches!(refused(&fixture("transposed.pt")), Kind::NotContiguous { .. }));
    assert!(matches!(refused(&fixture("deflated.pt")), Kind::Zip { .. }));
}

/// Whatever is cut off or changed: an error or other tensors, no panic, no memory for what is not
/// there.
#[test]
fn damaged_files_are_refused_or_read_inside_their_bounds() {
    let folder = tempfile::tempdir().unwrap();
    // The last 28 bytes are no tensor's.
    let mut gguf = gguf(&[("w", &[32, 2], 8, q8_0())]);
    gguf.truncate(gguf.len() - 28);
    let [state, legacy] =
        ["state.pt", "legacy.pt"].map(|name| std::fs::read(fixture(name)).unwrap());
    for whole in [gguf, state, legacy] {
        for length in (0..whole.len()).step_by(7) {
            assert!(Checkpoint::open(&put(folder.path(), "cut", &whole[..length])).is_err());
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            let Ok(checkpoint) = Checkpoint::open(&put(folder.path(), "changed", &damaged)) else {
                continue;
            };
            for tensor in checkpoint.tensors() {
                assert!(tensor.byte_len() <= 4 * whole.len() as u64);
                checkpoint.read(tensor).unwrap();
            }
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A GGUF file of `(name, extents, type, bytes)`, fastest extent first, after a few values of all
/// sorts.
fn gguf(tensors: &[(&str, &[u64], u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend(3_u64.to_le_bytes());
    file.extend(
        [text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text("flux")].concat(),
    );
    let [array, string, int] = [9_u32, 8, 5].map(|kind| kind.to_le_bytes().to_vec());
    let two = 2_u64.to_le_bytes().to_vec();
    file.extend(
        [text("tokens"), array.clone(), string, two.clone(), text("a"), text("b")].concat(),
    );
    let shape = [4_i32, 16].map(i32::to_le_bytes).concat();
    file.extend([text("comfy.gguf.orig_shape.o"), array, int, two, shape].concat());
    let mut data = vec![];
    for (name, extents, kind, bytes) in tensors {
        file.extend(text(name));
        file.extend((extents.len() as u32).to_le_bytes());
        extents.iter().for_each(|extent| file.extend(extent.to_le_bytes()));
        file.extend(kind.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(bytes);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    [file, data].concat()
}

/// Two rows of 32: 0.5 · (−16 … 15), then 0.25 · the same.
fn q8_0() -> Vec<u8> {
    let block = |scale: u16| {
        [&scale.to_le_bytes()[..], &(-16_i8..16).map(|code| code as u8).collect::<Vec<_>>()]
            .concat()
    };
    [block(0x3800), block(0x3400)].concat()
}

#[test]
fn gguf_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = gguf(&[
        ("f", &[2, 3], 0, f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("h", &[1], 1, vec![0, 0x3c]),
        ("b", &[1], 30, vec![0x80, 0x3f]),
        ("q", &[32, 2], 8, q8_0()),
        ("o", &[32, 2], 8, q8_0()),
    ]);
    let path = put(folder.path(), "m.gguf", file);
    for opened in [&path, folder.path()] {
        let checkpoint = Checkpoint::open(opened).unwrap();
        let f32 = f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(read(&checkpoint, "f"), (Dtype::F32, vec![3, 2], f32));
        assert_eq!(read(&checkpoint, "h"), (Dtype::F16, vec![1], vec![0, 0x3c]));
        assert_eq!(read(&checkpoint, "b"), (Dtype::BF16, vec![1], vec![0x80, 0x3f]));
        let numbers = [0.5_f32, 0.25]
            .map(|scale| f32s(&(-16..16).map(|code| scale * code as f32).collect::<Vec<_>>()))
            .concat();
        assert_eq!(read(&checkpoint, "q"), (Dtype::F32, vec![2, 32], numbers.clone()));
        assert_eq!(read(&checkpoint, "o"), (Dtype::F32, vec![4, 16], numbers.clone()));
        let tensor = checkpoint.get("q").unwrap();
        for (offset, length) in [(0, 1), (3, 130), (127, 2), (200, 56), (256, 0)] {
            let mut part = vec![0; length];
            checkpoint.read_into(tensor, offset as u64, &mut part).unwrap();
            assert_eq!(part, numbers[offset..offset + length]);
        }
    }
}

#[test]
fn gguf_of_other_types_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "m.gguf", gguf(&[("k", &[256], 12, vec![0; 144])]));
    assert!(matches!(refused(&path), Kind::GgufType { found: 12 }));
    let path = put(folder.path(), "m.gguf", gguf(&[("k", &[16, 4], 8, q8_0())]));
    assert!(matches!(refused(&path), Kind::Gguf { .. }));
}
