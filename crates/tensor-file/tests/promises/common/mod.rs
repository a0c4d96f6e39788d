//! Raw files for the tests, made without the code under test.

use std::path::{Path, PathBuf};

use roundwise_tensor_file::{Dtype, TensorSpec};

/// Length, header and data, as they are.
pub(crate) fn raw_file(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend_from_slice(data);
    file
}

/// F32 `a` [2, 4] and U8 `b` [3], with metadata, made by the reference implementation.
pub(crate) fn two_tensors() -> Vec<u8> {
    let data: Vec<u8> = (1..=35).collect();
    let view = |dtype, shape: &[usize], data| {
        safetensors::tensor::TensorView::new(dtype, shape.to_vec(), data).unwrap()
    };
    let tensors = [
        ("a", view(safetensors::Dtype::F32, &[2, 4], &data[..32])),
        ("b", view(safetensors::Dtype::U8, &[3], &data[32..])),
    ];
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(tensors, Some(metadata)).unwrap()
}

/// Bytes before the data.
pub(crate) fn header_end(file: &[u8]) -> usize {
    8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize
}

pub(crate) fn put(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

pub(crate) fn spec(name: &str, dtype: Dtype, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: name.into(), dtype, shape: shape.to_vec() }
}

/// What the folder holds, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
