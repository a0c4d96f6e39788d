//! Files that are written come back, here and in the reference implementation, in both directions.

use std::collections::{BTreeMap, HashMap};

use crate::common::{put, spec};
use proptest::prelude::*;
use roundwise_tensor_file::{
    Checkpoint, Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec, pieces,
};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

type Tensors = Vec<(TensorSpec, Vec<u8>)>;

fn any_tensor() -> impl Strategy<Value = (TensorSpec, Vec<u8>)> {
    let name = prop_oneof![".{0,12}", "[a-c]{1,2}", Just("blk.\"1\"\\w\u{1f}é".to_owned())];
    let dtype = prop::sample::select(&Dtype::ALL[..]);
    (name, dtype, prop::collection::vec(0_u64..6, 0..4), any::<u8>())
        .prop_filter("reserved", |(name, ..)| name != "__metadata__")
        .prop_filter_map("whole bytes", |(name, dtype, shape, seed)| {
            let length = dtype.byte_len(&shape)?;
            let bytes =
                (0..length).map(|at| seed.wrapping_mul(31).wrapping_add(at as u8)).collect();
            Some((TensorSpec { name, dtype, shape }, bytes))
        })
}

fn any_tensors() -> impl Strategy<Value = Tensors> {
    prop::collection::vec(any_tensor(), 0..8).prop_map(|tensors| {
        let unique: BTreeMap<_, _> =
            tensors.into_iter().map(|tensor| (tensor.0.name.clone(), tensor)).collect();
        unique.into_values().collect()
    })
}

fn any_metadata() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(".{0,8}", ".{0,20}", 0..4)
}

/// Also shows that both sides spell the dtypes alike.
fn reference_dtype(dtype: Dtype) -> safetensors::Dtype {
    serde_json::from_value(dtype.name().into()).unwrap()
}

fn reference_file(tensors: &Tensors, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let views = tensors.iter().map(|(spec, bytes)| {
        let shape = spec.shape.iter().map(|&extent| extent as usize).collect();
        (&spec.name, TensorView::new(reference_dtype(spec.dtype), shape, bytes).unwrap())
    });
    let metadata: HashMap<_, _> = metadata.clone().into_iter().collect();
    safetensors::serialize(views, (!metadata.is_empty()).then_some(metadata)).unwrap()
}

fn manifest(tensors: &Tensors, metadata: &BTreeMap<String, String>) -> Manifest {
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    Manifest::new(metadata.clone(), specs).unwrap()
}

/// The file that a writer makes when `fill` writes the tensors.
fn our_file(manifest: Manifest, fill: impl FnOnce(&TensorFileWriter)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let writer = TensorFileWriter::create(&path, manifest, Overwrite::Refuse).unwrap();
    fill(&writer);
    writer.commit().unwrap();
    std::fs::read(path).unwrap()
}

proptest! {
    #[test]
    fn the_reference_reads_ours(tensors in any_tensors(), metadata in any_metadata()) {
        let file = our_file(manifest(&tensors, &metadata), |writer| {
            for (spec, bytes) in &tensors {
                writer.write(&spec.name, bytes).unwrap();
            }
        });
        let (_, header) = SafeTensors::read_metadata(&file).unwrap();
        let found = header.metadata().clone().unwrap_or_default();
        prop_assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), metadata.clone());
        let read = SafeTensors::deserialize(&file).unwrap();
        prop_assert_eq!(read.len(), tensors.len());
        for (spec, bytes) in &tensors {
            let view = read.tensor(&spec.name).unwrap();
            prop_assert_eq!(view.dtype(), reference_dtype(spec.dtype));
            let shape: Vec<u64> = view.shape().iter().map(|&extent| extent as u64).collect();
            prop_assert_eq!(&shape, &spec.shape);
            prop_assert_eq!(view.data(), bytes.as_slice());
        }
        // The reference writes several metadata entries in random order.
        if metadata.len() < 2 {
            prop_assert_eq!(file, reference_file(&tensors, &metadata));
        }
    }

    #[test]
    fn we_read_the_reference(tensors in any_tensors(), metadata in any_metadata()) {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), "model.safetensors", reference_file(&tensors, &metadata));
        let checkpoint = Checkpoint::open(&path).unwrap();
        prop_assert_eq!(checkpoint.metadata(), &metadata);
        prop_assert_eq!(checkpoint.tensors().len(), tensors.len());
        for ((spec, bytes), header) in tensors.iter().zip(checkpoint.tensors()) {
            let found = (&header.name, header.dtype, &header.shape);
            prop_assert_eq!(found, (&spec.name, spec.dtype, &spec.shape));
            prop_assert_eq!(header.element_count(), spec.shape.iter().product::<u64>());
            prop_assert_eq!(checkpoint.get(&spec.name), Some(header));
            prop_assert_eq!(&checkpoint.read(header).unwrap(), bytes);
        }
    }

    #[test]
    fn any_order_and_any_parts_make_the_same_file(
        (tensors, order) in any_tensors()
            .prop_flat_map(|tensors| (Just(tensors.clone()), Just(tensors).prop_shuffle())),
        part_bytes in 1_usize..9,
    ) {
        let metadata = BTreeMap::new();
        let file = our_file(manifest(&order, &metadata), |writer| {
            for (spec, bytes) in &order {
                for (number, part) in bytes.chunks(part_bytes).enumerate().rev() {
                    writer.write_part(&spec.name, (number * part_bytes) as u64, part).unwrap();
                }
            }
        });
        prop_assert_eq!(file, reference_file(&tensors, &metadata));
    }
}

#[test]
fn many_threads_make_the_same_file() {
    let tensors: Tensors = (0..64_u64)
        .map(|number| {
            let bytes = (0..4 * 1000).map(|at| (at as u64 * 7 + number) as u8).collect();
            (spec(&format!("t{number}"), Dtype::F32, &[10, 100]), bytes)
        })
        .collect();
    let metadata = BTreeMap::new();
    let file = our_file(manifest(&tensors, &metadata), |writer| {
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let tensors = &tensors;
                scope.spawn(move || {
                    for (number, part) in (0..4).flat_map(|part| (0..64).map(move |n| (n, part))) {
                        if (number + part) % 8 == worker {
                            let (spec, bytes) = &tensors[number];
                            let at = part * 1000;
                            let bytes = &bytes[at..at + 1000];
                            writer.write_part(&spec.name, at as u64, bytes).unwrap();
                        }
                    }
                });
            }
        });
    });
    assert_eq!(file, reference_file(&tensors, &metadata));
}

#[test]
fn copies_are_byte_identical_across_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let length = (9 << 20) + 5;
    let bytes: Vec<u8> =
        (0..length).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let tensors: Tensors = vec![
        (spec("big", Dtype::U8, &[u64::from(length)]), bytes),
        (spec("empty", Dtype::F32, &[0, 3]), vec![]),
    ];
    let metadata = [("config".to_owned(), "{}".to_owned())].into();
    let original = reference_file(&tensors, &metadata);
    let source = Checkpoint::open(&put(folder.path(), "in.safetensors", &original)).unwrap();
    let file = our_file(manifest(&tensors, source.metadata()), |writer| {
        for tensor in source.tensors() {
            for piece in pieces(tensor.byte_len()) {
                let mut bytes = vec![0; (piece.end - piece.start) as usize];
                source.read_into(tensor, piece.start, &mut bytes).unwrap();
                writer.write_part(&tensor.name, piece.start, &bytes).unwrap();
            }
        }
    });
    assert!(file == original);
}
