use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::container;
use crate::disk::is_same_file;
use crate::header::{Encoding, TensorHeader};
use crate::locate::{Located, locate};
use crate::q8_0;
use crate::shard_index::ShardIndex;
use crate::source_file::SourceFile;
use crate::text::read_text;
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// The tensors of one model: a safetensors file, or several with an index.
///
/// Only headers are held in memory. The files stay open, so that replacing them by name does
/// not change what is read; all methods take `&self` and may be called from many threads.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    is_index: bool,
    files: Vec<SourceFile>,
    /// Sorted by name.
    tensors: Vec<TensorHeader>,
    metadata: BTreeMap<String, String>,
    disputed_metadata: BTreeMap<String, Vec<String>>,
    unread_entries: usize,
}

impl Checkpoint {
    /// Opens a weight file, a `*.index.json`, or a folder that holds one index or else exactly one
    /// weight file; safetensors go before other containers there.
    ///
    /// What is read: safetensors; what `torch.save` wrote, one dictionary of tensors, of which nothing
    /// is ever run; GGUF with F32, F16, BF16 and integers, and Q8_0 read as F32.
    ///
    /// Checks every header completely. Memory: proportional to the headers, each of which is at
    /// most [`HEADER_LIMIT_BYTES`](crate::HEADER_LIMIT_BYTES) and inside its file.
    ///
    /// # Errors
    /// Anything the files say that is not exactly so: see [`TensorFileErrorKind`](Kind).
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        match locate(path)? {
            Located::Single(file) => Self::open_files(path, &[file]),
            Located::Index(file) => {
                let index = ShardIndex::open(&file)?;
                let mut checkpoint = Self::open_files(path, &index.shard_paths()?)?;
                checkpoint.is_index = file == path;
                index.check_places(|tensor| checkpoint.holder(tensor))?;
                Ok(checkpoint)
            }
        }
    }

    fn open_files(path: &Path, paths: &[PathBuf]) -> Result<Self, TensorFileError> {
        let mut files = Vec::with_capacity(paths.len());
        let mut tensors = Vec::new();
        let mut metadata = BTreeMap::new();
        let mut disputed_metadata = BTreeMap::<String, Vec<String>>::new();
        let mut unread_entries = 0_usize;
        for (number, path) in paths.iter().enumerate() {
            let (file, contents) = container::open(path, number)?;
            for (key, value) in contents.metadata {
                match metadata.get(&key) {
                    None => drop(metadata.insert(key, value)),
                    Some(first) if *first == value => {}
                    Some(_) => disputed_metadata.entry(key).or_default().push(value),
                }
            }
            unread_entries = unread_entries.saturating_add(contents.unread_entries);
            tensors.extend(contents.tensors);
            files.push(file);
        }
        let mut checkpoint = Self {
            path: path.to_owned(),
            is_index: false,
            files,
            tensors,
            metadata,
            disputed_metadata,
            unread_entries,
        };
        checkpoint.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        checkpoint.check_held_once()?;
        Ok(checkpoint)
    }

    fn check_held_once(&self) -> Result<(), TensorFileError> {
        match self.tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            None => Ok(()),
            Some(pair) => {
                let [first, second] = [&pair[0], &pair[1]]
                    .map(|tensor| self.files[tensor.file].path.display().to_string());
                Err(Kind::InTwoShards { first, second }.at_tensor(&self.path, &pair[0].name))
            }
        }
    }

    /// The file that holds the tensor of this name.
    pub fn holder(&self, tensor: &str) -> Option<&Path> {
        Some(&self.files[self.get(tensor)?.file].path)
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether [`Self::path`] is an index.
    pub(crate) fn is_index(&self) -> bool {
        self.is_index
    }

    /// The weight files, sorted by name; without the index.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// A text that lies beside the files, such as their model's `config.json`; `None` where there is
    /// none that can be read.
    pub fn text_beside(&self, name: &str) -> Option<String> {
        let folder = self.files.first()?.path.parent()?;
        read_text(&folder.join(name)).ok()
    }

    /// Sum of the files' sizes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Every tensor, sorted by name.
    pub fn tensors(&self) -> &[TensorHeader] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&TensorHeader> {
        let place = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[place])
    }

    /// `__metadata__`. Of shards that disagree about a key, the first file's value.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Keys that shards disagree about, each with the values of later files that
    /// [`Self::metadata`] leaves aside.
    pub fn disputed_metadata(&self) -> &BTreeMap<String, Vec<String>> {
        &self.disputed_metadata
    }

    /// Number of entries about the model, such as a tokenizer, that the files' container has and
    /// safetensors has no place for: those of GGUF.
    pub fn unread_entries(&self) -> usize {
        self.unread_entries
    }

    /// All values of a key: the first file's, then those of files that disagree with it.
    pub fn metadata_values(&self, key: &str) -> impl Iterator<Item = &str> {
        let others = self.disputed_metadata.get(key).into_iter().flatten();
        self.metadata.get(key).into_iter().chain(others).map(String::as_str)
    }

    /// Reads a whole tensor of this checkpoint.
    ///
    /// # Errors
    /// When there is no memory for it, or the file has been cut since it was opened.
    pub fn read(&self, tensor: &TensorHeader) -> Result<Vec<u8>, TensorFileError> {
        let mut bytes = zeroed(tensor.length)
            .ok_or(Kind::OutOfMemory { bytes: tensor.length })
            .map_err(|kind| kind.at_tensor(&self.path, &tensor.name))?;
        self.read_into(tensor, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// [`Checkpoint::read`] into memory that is there already, of any length and content.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_reusing(
        &self,
        tensor: &TensorHeader,
        mut memory: Vec<u8>,
    ) -> Result<Vec<u8>, TensorFileError> {
        let length = usize::try_from(tensor.length).unwrap_or(usize::MAX);
        // Without this a tensor that is too large would end the program.
        memory
            .try_reserve_exact(length.saturating_sub(memory.len()))
            .map_err(|_| Kind::OutOfMemory { bytes: tensor.length })
            .map_err(|kind| kind.at_tensor(&self.path, &tensor.name))?;
        memory.resize(length, 0);
        self.read_into(tensor, 0, &mut memory)?;
        Ok(memory)
    }

    /// Fills `buffer` with the tensor's bytes from its byte `offset` on.
    ///
    /// # Errors
    /// When that reaches past the tensor's end, or the file has been cut since it was opened.
    pub fn read_into(
        &self,
        tensor: &TensorHeader,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), TensorFileError> {
        let Some(file) = self.files.get(tensor.file) else {
            return Err(Kind::ForeignTensor.at_tensor(&self.path, &tensor.name));
        };
        let length = buffer.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > tensor.length) {
            let kind = Kind::PartOutOfRange { offset, length, tensor_bytes: tensor.length };
            return Err(kind.at_tensor(&file.path, &tensor.name));
        }
        let filled = match tensor.encoding {
            Encoding::Plain => file.read(tensor.offset + offset, buffer),
            Encoding::Q8_0 => read_blocks(file, tensor, offset, buffer),
        };
        filled.map_err(|kind| kind.at_tensor(&file.path, &tensor.name))
    }

    /// Whether `path` is one of the files, through any symbolic or hard link: an output there
    /// would destroy the input.
    ///
    /// The index counts, when it was opened by name.
    pub fn same_file_as(&self, path: &Path) -> bool {
        let is_index = std::fs::File::open(&self.path)
            .is_ok_and(|opened| is_same_file(&opened, &self.path, path));
        is_index || self.files.iter().any(|file| is_same_file(&file.file, &file.path, path))
    }
}

/// Decodes the blocks that `buffer` begins in, crosses and ends in, some at a time.
fn read_blocks(
    file: &SourceFile,
    tensor: &TensorHeader,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), Kind> {
    const BLOCK: u64 = q8_0::BLOCK * q8_0::ELEMENT_BYTES;
    const AT_ONCE: usize = 1 << 16;
    let mut stored = vec![];
    let mut numbers = vec![];
    let mut at = offset;
    for part in buffer.chunks_mut(AT_ONCE) {
        let first = at / BLOCK;
        let end = (at + part.len() as u64).div_ceil(BLOCK);
        stored.resize(((end - first) * q8_0::BLOCK_BYTES) as usize, 0);
        file.read(tensor.offset + first * q8_0::BLOCK_BYTES, &mut stored)?;
        numbers.clear();
        q8_0::decode(&stored, &mut numbers);
        part.copy_from_slice(&numbers[(at - first * BLOCK) as usize..][..part.len()]);
        at += part.len() as u64;
    }
    Ok(())
}

/// Zeroed memory, or `None` where there is not enough.
fn zeroed(bytes: u64) -> Option<Vec<u8>> {
    let bytes = usize::try_from(bytes).ok()?;
    // `vec!` aborts the process when it fails but gets its zeros from the system for free;
    // asking first catches every absurd size.
    Vec::<u8>::new().try_reserve_exact(bytes).ok()?;
    Some(vec![0; bytes])
}
