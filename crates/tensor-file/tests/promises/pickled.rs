//! Files that training programs save with PyTorch open at the model; their code is never run.

use std::path::{Path, PathBuf};

use crate::common::f32s;
use roundwise_tensor_file::{Checkpoint, Dtype, Remark, TensorFileErrorKind as Kind};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn read(checkpoint: &Checkpoint, name: &str) -> (Dtype, Vec<u64>, Vec<u8>) {
    let tensor = checkpoint.get(name).unwrap_or_else(|| panic!("no `{name}`"));
    (tensor.dtype, tensor.shape.clone(), checkpoint.read(tensor).unwrap())
}

macro_rules! refused {
    ($name:expr, $kind:pat $(if $guard:expr)?) => {{
        let error = Checkpoint::open(&fixture($name)).expect_err("not to be read");
        assert!(matches!(error.kind(), $kind $(if $guard)?), "{error:?}");
        assert!(error.to_string().contains("\n  "), "no way out: {error}");
        error
    }};
}

#[test]
fn what_torch_saves_is_read() {
    for name in ["state.pt", "legacy.pt", "nested.ckpt"] {
        let checkpoint = open(&format!("pickled/{name}"));
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
    let checkpoint = open("pickled/fp8.pt");
    assert_eq!(read(&checkpoint, "w"), (Dtype::F8E4M3, vec![2], vec![0x38, 0xfe]));
    assert_eq!(open("pickled/state.pt").remarks(), []);
}

/// (file, dictionary that is read, what is passed over).
#[test]
fn a_training_checkpoint_opens_at_its_model() {
    let cases: [(&str, Option<&str>, &[&str]); 7] = [
        ("training.pt", Some("model_state_dict"), &["optimizer_state_dict", "loss"]),
        ("averaged.pt", Some("model.state_dict"), &["ema", "opt"]),
        ("restored.pth", Some("params_ema"), &["params"]),
        ("wrapped.pt", Some("anything"), &["loss"]),
        ("beside.pt", None, &["extra"]),
        ("same-twice.pt", Some("model"), &[]),
        ("../pickled/nested.ckpt", Some("state_dict"), &["optimizer"]),
    ];
    for (file, chosen, passed_over) in cases {
        let checkpoint = open(&format!("checkpoints/{file}"));
        assert_eq!(checkpoint.chosen_dictionary(), chosen, "{file}");
        let told = checkpoint.remarks().iter().find_map(|remark| match remark {
            Remark::Dictionary { passed_over, .. } => Some(passed_over.as_slice()),
            _ => None,
        });
        assert_eq!(told.unwrap_or_default(), passed_over, "{file}");
        if file != "../pickled/nested.ckpt" {
            let first = if file == "restored.pth" { 9.0 } else { 1.0 };
            let weight = (Dtype::F32, vec![3], f32s(&[first, 2.0, 3.0]));
            assert_eq!(read(&checkpoint, "fc.weight"), weight, "{file}");
            assert_eq!(checkpoint.tensors().len(), 2, "{file}");
        }
    }
}

#[test]
fn what_is_no_tensor_is_passed_over_and_not_run() {
    let objects = |file| {
        open(file).remarks().iter().rev().find_map(|remark| match remark {
            Remark::Objects { classes } => Some(classes.clone()),
            _ => None,
        })
    };
    let classes = objects("checkpoints/training.pt").unwrap();
    assert_eq!(classes, ["posix.system", "recipes.Mode"]);
    assert_eq!(objects("pickled/command.pt").unwrap(), ["posix.system"]);
    assert_eq!(read(&open("pickled/command.pt"), "w"), (Dtype::F32, vec![2], vec![0; 8]));
    assert!(!Path::new("/tmp/pickle-was-run").exists());
    let remarks = open("checkpoints/training.pt")
        .remarks()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    assert_eq!(
        remarks,
        [
            "read the dictionary `model_state_dict`; passed over optimizer_state_dict, loss",
            "passed over objects of posix.system, recipes.Mode; nothing was run",
        ]
    );
}

/// The output would lack them, and nobody would see it.
#[test]
fn weights_that_are_no_tensors_are_refused_by_name() {
    for (file, key, found) in [
        ("array.pt", "fc.scale", "is a NumPy array of [2, 3], not a tensor"),
        ("array-in-model.pt", "fc.scale", "is a NumPy array of [2, 3], not a tensor"),
        ("list.pt", "blocks", "is a list of 2 tensors, not a tensor"),
        (
            "list-inside.pt",
            "blocks",
            "is a dictionary with tensors that have no names, not a tensor",
        ),
    ] {
        let error = refused!(&format!("checkpoints/{file}"), Kind::NotTensor { .. });
        assert_eq!(error.tensor(), Some(key), "{file}");
        assert!(error.to_string().contains(found), "{error}");
    }
    let error = refused!("checkpoints/flat.pt", Kind::FlatParameter);
    assert!(error.to_string().contains("FULL_STATE_DICT"), "{error}");
}

#[test]
fn numbers_among_the_tensors_are_told() {
    let checkpoint = open("checkpoints/numbers.pt");
    assert_eq!(checkpoint.tensors().len(), 2);
    let told = checkpoint.remarks()[0].to_string();
    let expected = "passed over numbers that are no tensors: best (a number of NumPy), \
                    logit_scale (4.6), mean (3 numbers)";
    assert_eq!(told, expected);
}

/// A known key alone makes no model of a dictionary that is tiny beside another one.
#[test]
fn the_larger_dictionary_is_the_model_where_two_keys_say_so() {
    let checkpoint = open("checkpoints/larger.pth");
    assert_eq!(checkpoint.chosen_dictionary(), Some("weight"));
    assert_eq!(checkpoint.tensors().len(), 3);
    let told = checkpoint.remarks()[0].to_string();
    assert_eq!(told, "read the dictionary `weight`; passed over weights");
}

/// Every element of a view of 0 … 23 is its place.
#[test]
fn strided_tensors_are_put_in_order() {
    let checkpoint = open("checkpoints/strided.pt");
    let places = |count: u64, place: &dyn Fn(u64) -> u64| {
        f32s(&(0..count).map(|at| place(at) as f32).collect::<Vec<_>>())
    };
    let cases: [(&str, &[u64], Vec<u8>); 5] = [
        ("transposed", &[4, 6], places(24, &|at| at / 6 + 4 * (at % 6))),
        ("column", &[4], places(4, &|at| 2 + 6 * at)),
        ("part", &[2, 3], places(6, &|at| 7 + 6 * (at / 3) + at % 3)),
        ("permuted", &[4, 2, 3], places(24, &|at| at / 6 + 12 * (at / 3 % 2) + 4 * (at % 3))),
        ("plain", &[4, 6], places(24, &|at| at)),
    ];
    for (name, shape, bytes) in cases {
        assert_eq!(read(&checkpoint, name), (Dtype::F32, shape.to_vec(), bytes.clone()), "{name}");
        let tensor = checkpoint.get(name).unwrap();
        for offset in 0..bytes.len() {
            for length in [0, 1, 5, 17].into_iter().filter(|length| offset + length <= bytes.len())
            {
                let mut part = vec![0xff; length];
                checkpoint.read_into(tensor, offset as u64, &mut part).unwrap();
                assert_eq!(part, bytes[offset..offset + length], "{name} {offset}..+{length}");
            }
        }
    }
    assert_eq!(read(&open("pickled/transposed.pt"), "w"), (Dtype::F32, vec![3, 2], vec![0; 24]));
}

#[test]
fn what_holds_no_single_model_is_refused_by_name() {
    let error = refused!("checkpoints/several.pt", Kind::StateDictAmbiguous { found } if *found == ["unet", "vae"]);
    assert!(error.to_string().contains("several dictionaries of tensors: unet, vae"), "{error}");
    let error = refused!("checkpoints/whole-model.pt", Kind::NoStateDict { .. });
    assert!(error.to_string().contains("`model` (an object of `nets.Net`)"), "{error}");
    refused!("checkpoints/optimizer.pt", Kind::NoStateDict { .. });
    refused!("checkpoints/expanded.pt", Kind::StridesOverlap { .. });
    let error = refused!("checkpoints/sparse.pt", Kind::TensorCall { .. });
    assert_eq!(error.tensor(), Some("w"));
    assert!(error.to_string().contains("`torch._utils._rebuild_sparse_tensor`"), "{error}");
    let error = refused!("checkpoints/negated.pt", Kind::TensorCall { .. });
    assert_eq!(error.tensor(), Some("w"));
    for file in ["zero3.pt", "zero-shard.pt"] {
        let error = refused!(&format!("checkpoints/{file}"), Kind::ZeroShards);
        assert!(error.to_string().contains("zero_to_fp32.py"), "{error}");
    }
    let error = refused!("checkpoints/script.pt", Kind::TorchScript);
    assert!(error.to_string().contains("torch.jit.load"), "{error}");
    let error = Checkpoint::open(&fixture("pickled/deflated.pt")).unwrap_err();
    assert!(matches!(error.kind(), Kind::Zip { .. }), "{error}");
}
