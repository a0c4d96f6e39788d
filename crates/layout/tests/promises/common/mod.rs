//! Tensor files on disk for the tests.

pub(crate) mod others;

use std::collections::BTreeMap;
use std::path::Path;

use roundwise_layout::{Layout, MatmulPrecision, StoredLayers};
use roundwise_scheme::{FloatDtype, QuantizedMatrix, ScaleRule, Scheme, Weight};
use roundwise_tensor_file::{Checkpoint, Manifest, Overwrite, TensorFileWriter, TensorSpec};
use roundwise_testkit::weights::Matrix;
use tempfile::TempDir;

/// A file that vanishes after the test, and the layers that were found in it.
pub(crate) struct Opened {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) stored: StoredLayers,
    _folder: TempDir,
}

/// Opens a file of these bytes.
pub(crate) fn open(bytes: &[u8]) -> Opened {
    open_beside(bytes, None)
}

/// Opens a file of these bytes, maybe beside a `config.json`.
pub(crate) fn open_beside(bytes: &[u8], config: Option<&str>) -> Opened {
    let folder = tempfile::tempdir().unwrap();
    if let Some(config) = config {
        std::fs::write(folder.path().join("config.json"), config).unwrap();
    }
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let stored = StoredLayers::find(&checkpoint).unwrap();
    Opened { checkpoint, stored, _folder: folder }
}

/// The bytes of a file with these tensors, written as `convert` does.
pub(crate) fn write(
    metadata: BTreeMap<String, String>,
    tensors: &[(TensorSpec, Vec<u8>)],
) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = &folder.path().join("model.safetensors");
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let manifest = Manifest::new(metadata, specs).unwrap();
    let writer = TensorFileWriter::create(path, manifest, Overwrite::Refuse).unwrap();
    for (spec, bytes) in tensors {
        writer.write(&spec.name, bytes).unwrap();
    }
    writer.commit().unwrap();
    std::fs::read(path).unwrap()
}

/// The tensors that a layer becomes, announced and packed.
pub(crate) fn layer_tensors(
    layout: Layout,
    layer: &str,
    matrix: QuantizedMatrix,
    precision: MatmulPrecision,
) -> Vec<(TensorSpec, Vec<u8>)> {
    let specs = layout.layer_tensors(layer, matrix.scheme(), precision, matrix.shape());
    let packed = layout.pack(layer, matrix, precision);
    assert_eq!(specs.len(), packed.len());
    let pair = |(spec, packed): (TensorSpec, roundwise_layout::PackedTensor)| {
        assert_eq!(spec.name, packed.name);
        (spec, packed.bytes)
    };
    specs.into_iter().zip(packed).map(pair).collect()
}

pub(crate) fn quantize(matrix: &Matrix, scheme: Scheme) -> QuantizedMatrix {
    let bytes = matrix.bytes();
    let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap();
    QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Absmax).unwrap()
}
