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

/// Returns the names in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Two rows of 32 in blocks of Q8_0: 0.5 · (−16 … 15), then 0.25 · (−16 … 15).
pub(crate) fn q8_0() -> Vec<u8> {
    let codes: Vec<u8> = (-16_i8..16).map(|code| code as u8).collect();
    [0x3800_u16, 0x3400].map(|scale| [&scale.to_le_bytes()[..], &codes].concat()).concat()
}

/// A GGUF file of version 3.
#[derive(Default)]
pub(crate) struct Gguf {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

impl Gguf {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an entry, its value as it is stored.
    pub(crate) fn key(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push([&Self::text(name)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    /// Adds a tensor, its fastest extent first.
    pub(crate) fn tensor(mut self, name: &str, extents: &[u64], kind: u32, data: &[u8]) -> Self {
        let mut tensor = Self::text(name);
        tensor.extend((extents.len() as u32).to_le_bytes());
        extents.iter().for_each(|extent| tensor.extend(extent.to_le_bytes()));
        tensor.extend(kind.to_le_bytes());
        tensor.extend((self.data.len() as u64).to_le_bytes());
        self.tensors.push(tensor);
        self.data.extend(data);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        file.extend(self.keys.concat());
        file.extend(self.tensors.concat());
        file.resize(file.len().next_multiple_of(32), 0);
        [file, self.data].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }
}
