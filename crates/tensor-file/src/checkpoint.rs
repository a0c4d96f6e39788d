use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::arrange::{self, Arranged};
use crate::blocks::{BlockType, WEIGHT_BYTES};
use crate::container::{self, Contents};
use crate::disk::is_same_file;
use crate::gguf::GgufValue;
use crate::header::{Encoding, TensorHeader};
use crate::locate::{Located, locate};
use crate::numbered_shards::NumberedShard;
use crate::rank::rank_of;
use crate::shard_index::ShardIndex;
use crate::source_file::SourceFile;
use crate::strided;
use crate::text::read_text;
use crate::{Remark, TensorFileError, TensorFileErrorKind as Kind};

/// The tensors of one model: a weight file, or several with an index.
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
    gguf_metadata: BTreeMap<String, GgufValue>,
    unread_entries: usize,
    remarks: Vec<Remark>,
}

impl Checkpoint {
    /// Opens a weight file, a `*.index.json`, or a folder that holds one index, else exactly one
    /// weight file, or all shards of one model; safetensors go before other containers there, and
    /// `model.safetensors` before others beside a `config.json`.
    ///
    /// Reads safetensors; files that `torch.save` wrote, of which nothing is ever run, at one dictionary
    /// of tensors; and GGUF, whose blocks become F32. Choices that had to be made are
    /// [remarks](Self::remarks).
    ///
    /// Checks every header completely. Memory: proportional to the headers, each of which is at
    /// most [`HEADER_LIMIT_BYTES`](crate::HEADER_LIMIT_BYTES) and inside its file.
    ///
    /// # Errors
    /// Anything the files say that is not exactly so: see [`TensorFileErrorKind`](Kind).
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let (checkpoint, defects) = Self::open_tolerant(path)?;
        match defects.into_iter().next() {
            None => Ok(checkpoint),
            Some(defect) => Err(defect),
        }
    }

    /// Opens what [`Self::open`] does, and also files with defects that leave only one way to read
    /// them, which it lists: bytes behind the last tensor are passed over, entries of `__metadata__`
    /// that are no strings become their JSON. A file that is written anew from the checkpoint has
    /// none of them.
    ///
    /// # Errors
    /// Any other defect: see [`TensorFileErrorKind`](Kind).
    pub fn open_tolerant(path: &Path) -> Result<(Self, Vec<TensorFileError>), TensorFileError> {
        match locate(path)? {
            Located::Single(file) => {
                let (mut checkpoint, defects) = Self::open_files(path, &[file], None)?;
                checkpoint.remarks.extend(one_of_several(path));
                Ok((checkpoint, defects))
            }
            Located::OfSeveral(file, others) => {
                let (mut checkpoint, defects) = Self::open_files(path, &[file], None)?;
                checkpoint.remarks.push(Remark::WeightsLeftOut { files: others });
                Ok((checkpoint, defects))
            }
            Located::Shards(shards) => {
                let (mut checkpoint, defects) = Self::open_files(path, &shards, None)?;
                checkpoint.remarks.push(Remark::NoIndex { shards: shards.len() });
                Ok((checkpoint, defects))
            }
            Located::Index(file) => {
                let index = ShardIndex::open(&file)?;
                // Missing shards are reported before any shard is opened.
                let shards = index.shard_paths()?;
                let (mut checkpoint, defects) = Self::open_files(path, &shards, Some(&index))?;
                checkpoint.is_index = file == path;
                // The index says which files there are; what they hold is looked up in their headers.
                let remarks = index.check_places(|tensor| checkpoint.holder(tensor))?;
                checkpoint.remarks.extend(left_out(&shards));
                checkpoint.remarks.extend(remarks);
                Ok((checkpoint, defects))
            }
        }
    }

    fn open_files(
        path: &Path,
        paths: &[PathBuf],
        index: Option<&ShardIndex>,
    ) -> Result<(Self, Vec<TensorFileError>), TensorFileError> {
        let mut checkpoint = Self {
            path: path.to_owned(),
            is_index: false,
            files: Vec::with_capacity(paths.len()),
            tensors: vec![],
            metadata: BTreeMap::new(),
            disputed_metadata: BTreeMap::new(),
            gguf_metadata: BTreeMap::new(),
            unread_entries: 0,
            remarks: vec![],
        };
        let mut defects = vec![];
        for (number, path) in paths.iter().enumerate() {
            let (file, mut contents) = container::open(path, number)?;
            defects.extend(contents.defects.drain(..).map(|kind| kind.at(path)));
            checkpoint.add(file, contents);
        }
        // Tensors of one name lie next to each other then, and `get` can search by halves.
        checkpoint.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        checkpoint.keep_each_once(index)?;
        Ok((checkpoint, defects))
    }

    fn add(&mut self, file: SourceFile, contents: Contents) {
        for (key, value) in contents.metadata {
            // Files are opened in the order of their names, so that "first" does not depend on the
            // folder's listing.
            match self.metadata.get(&key) {
                None => drop(self.metadata.insert(key, value)),
                Some(first) if *first == value => {}
                Some(_) => self.disputed_metadata.entry(key).or_default().push(value),
            }
        }
        // The first file's entries count, as they do for `__metadata__`.
        for (key, value) in contents.gguf_metadata {
            self.gguf_metadata.entry(key).or_insert(value);
        }
        self.unread_entries = self.unread_entries.saturating_add(contents.unread_entries);
        let new = contents.remarks.into_iter().filter(|remark| !self.remarks.contains(remark));
        let new: Vec<_> = new.collect();
        self.remarks.extend(new);
        self.tensors.extend(contents.tensors);
        self.files.push(file);
    }

    /// Keeps each tensor once: where several shards hold it, the one that the index names.
    fn keep_each_once(&mut self, index: Option<&ShardIndex>) -> Result<(), TensorFileError> {
        let mut overlaid = vec![];
        // Only the index can say which one counts; without it there is no right choice.
        for same in self.tensors.chunk_by(|a, b| a.name == b.name).filter(|same| same.len() > 1) {
            let name = &same[0].name;
            let shard = index.and_then(|index| index.shard_of(name));
            let is_named = |tensor: &&TensorHeader| {
                shard.is_some_and(|shard| self.file_name(tensor) == Some(shard.as_ref()))
            };
            if !same.iter().any(|tensor| is_named(&tensor)) {
                let [first, second] = [&same[0], &same[1]]
                    .map(|tensor| self.files[tensor.file].path.display().to_string());
                return Err(Kind::InTwoShards { first, second }.at_tensor(&self.path, name));
            }
            overlaid.push(name.clone());
        }
        if overlaid.is_empty() {
            return Ok(());
        }
        let mut tensors = std::mem::take(&mut self.tensors);
        tensors.retain(|tensor| {
            let shard = index.and_then(|index| index.shard_of(&tensor.name));
            let is_named =
                shard.is_some_and(|shard| self.file_name(tensor) == Some(shard.as_ref()));
            is_named || overlaid.binary_search(&tensor.name).is_err()
        });
        self.tensors = tensors;
        self.remarks.push(Remark::Overlay { tensors: overlaid });
        Ok(())
    }

    fn file_name(&self, tensor: &TensorHeader) -> Option<&std::ffi::OsStr> {
        self.files[tensor.file].path.file_name()
    }

    /// Returns the file that holds the tensor of this name.
    pub fn holder(&self, tensor: &str) -> Option<&Path> {
        Some(&self.files[self.get(tensor)?.file].path)
    }

    /// Returns the same files, seen as other tensors: each is made of rows of those there are, which are
    /// read when it is. A tensor that is no part of any is no longer there.
    ///
    /// - `metadata`: stands in place of the files' own
    ///
    /// # Errors
    /// When a part is missing, or has other rows, another dtype or another number of elements than is
    /// asked for; when two tensors have one name.
    pub fn arranged(
        self,
        tensors: Vec<Arranged>,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, TensorFileError> {
        let mut headers = Vec::with_capacity(tensors.len());
        for arranged in tensors {
            let name = arranged.name.clone();
            // Looked up among the stored tensors, which `self` still has: names may be exchanged.
            let header = arrange::header(arranged, |part| self.get(part));
            headers.push(header.map_err(|kind| kind.at_tensor(&self.path, &name))?);
        }
        headers.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(twice) = headers.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Kind::DuplicateTensor.at_tensor(&self.path, &twice[0].name));
        }
        Ok(Self { tensors: headers, metadata, ..self })
    }

    /// Returns the path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether [`Self::path`] is an index.
    pub(crate) fn is_index(&self) -> bool {
        self.is_index
    }

    /// Returns the weight files, sorted by name, without the index.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Reads a text that lies beside the files, such as their model's `config.json`; `None` where there is
    /// none that can be read.
    pub fn text_beside(&self, name: &str) -> Option<String> {
        let folder = self.files.first()?.path.parent()?;
        read_text(&folder.join(name)).ok()
    }

    /// Returns the sum of the files' sizes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Returns every tensor, sorted by name.
    pub fn tensors(&self) -> &[TensorHeader] {
        &self.tensors
    }

    /// Returns the tensor of this name.
    pub fn get(&self, name: &str) -> Option<&TensorHeader> {
        let place = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[place])
    }

    /// Calls tensors by other names, for a reader who knows what those in the files mean; bytes and
    /// everything else stay. A tensor whose new name another one has keeps its own.
    ///
    /// - `names`: new names by present ones
    pub fn rename(&mut self, names: &BTreeMap<String, String>) {
        let mut taken: BTreeSet<String> =
            self.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        for tensor in &mut self.tensors {
            if let Some(name) = names.get(&tensor.name)
                && taken.insert(name.clone())
            {
                // Its old name is free for the tensors that follow.
                taken.remove(&tensor.name);
                tensor.name.clone_from(name);
            }
        }
        self.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Returns `__metadata__`. Of shards that disagree about a key, the first file's value counts.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Returns the keys that shards disagree about, each with the values of later files that
    /// [`Self::metadata`] leaves aside.
    pub fn disputed_metadata(&self) -> &BTreeMap<String, Vec<String>> {
        &self.disputed_metadata
    }

    /// Lists choices that were made and parts that were passed over when the files were opened: the
    /// dictionary of a training checkpoint, the shard of a tensor that several hold.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Returns the keys, joined by dots, that lead to the dictionary whose tensors these are, where a file of
    /// `torch.save` holds it inside another one, such as `state_dict`.
    pub fn chosen_dictionary(&self) -> Option<&str> {
        self.remarks.iter().find_map(|remark| match remark {
            Remark::Dictionary { chosen, .. } if !chosen.is_empty() => Some(chosen.as_str()),
            _ => None,
        })
    }

    /// Returns entries of a GGUF header by their keys, such as `general.architecture`; empty for other
    /// containers.
    ///
    /// Lists of more than 1,024 elements and texts of more than 64 KiB, such as a tokenizer's, are left
    /// out, and all entries past 4 MiB.
    pub fn gguf_metadata(&self) -> &BTreeMap<String, GgufValue> {
        &self.gguf_metadata
    }

    /// Counts the entries about the model, such as a tokenizer, that the files' container has and
    /// safetensors has no place for: those of GGUF.
    pub fn unread_entries(&self) -> usize {
        self.unread_entries
    }

    /// Returns whether it is GGUF.
    pub fn is_gguf(&self) -> bool {
        let has_entries = !self.gguf_metadata.is_empty() || self.unread_entries > 0;
        has_entries || self.tensors.iter().any(TensorHeader::is_in_blocks)
    }

    /// Lists all values of a key: the first file's, then those of files that disagree with it.
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

    /// Reads a whole tensor into memory that is there already, of any length and content.
    ///
    /// # Errors
    /// When there is no memory for it, or the file has been cut since it was opened.
    pub fn read_reusing(
        &self,
        tensor: &TensorHeader,
        mut memory: Vec<u8>,
    ) -> Result<Vec<u8>, TensorFileError> {
        let length = usize::try_from(tensor.length).unwrap_or(usize::MAX);
        // `resize` alone would end the program where there is no memory for the tensor.
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
        // Checked addition: offsets are computed by callers.
        if offset.checked_add(length).is_none_or(|end| end > tensor.length) {
            let kind = Kind::PartOutOfRange { offset, length, tensor_bytes: tensor.length };
            return Err(kind.at_tensor(&file.path, &tensor.name));
        }
        let filled = match &tensor.encoding {
            Encoding::Arranged(pieces) => {
                return arrange::read(
                    &file.path,
                    pieces,
                    offset,
                    buffer,
                    &|stored, offset, part| self.read_into(stored, offset, part),
                );
            }
            Encoding::Plain => file.read(tensor.offset + offset, buffer),
            Encoding::Strided(strides) => {
                strided::read(&file.file, tensor, strides, offset, buffer)
            }
            Encoding::Blocks(block) => read_blocks(file, tensor, *block, offset, buffer),
        };
        filled.map_err(|kind| kind.at_tensor(&file.path, &tensor.name))
    }

    /// Tells whether `path` is one of the files, through any symbolic or hard link: an output there
    /// would destroy the input.
    ///
    /// The index counts, when it was opened by name.
    pub fn same_file_as(&self, path: &Path) -> bool {
        let is_index = std::fs::File::open(&self.path)
            .is_ok_and(|opened| is_same_file(&opened, &self.path, path));
        is_index || self.files.iter().any(|file| is_same_file(&file.file, &file.path, path))
    }
}

/// Returns a remark of shards, such as `model-00002-of-00003.safetensors`, that lie beside others of their
/// model and are not among them.
fn left_out(shards: &[PathBuf]) -> Option<Remark> {
    let first = shards.first()?;
    let others = NumberedShard::at(first)?;
    let is_left_out = |name: &String| {
        let path = first.with_file_name(name);
        !shards.contains(&path) && path.exists()
    };
    let files: Vec<String> = others.names().filter(is_left_out).collect();
    (!files.is_empty()).then_some(Remark::ShardsLeftOut { files })
}

/// Returns a remark of a file that its name says is not the whole model.
fn one_of_several(path: &Path) -> Option<Remark> {
    // Shares are numbered like shards.
    if let Some(rank) = rank_of(path) {
        return Some(Remark::Slice { rank });
    }
    let shard = NumberedShard::at(path)?;
    // A part that one of several machines made (`model.part-1-of-2`) is no shard: its own metadata says
    // what it is.
    let NumberedShard { number, count, .. } = shard;
    (!shard.is_part()).then_some(Remark::OneShard { number, count })
}

/// Decodes the blocks that `buffer` begins in, crosses and ends in, some at a time.
fn read_blocks(
    file: &SourceFile,
    tensor: &TensorHeader,
    block: BlockType,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), Kind> {
    /// Decoded bytes that exist beside `buffer` at once.
    const AT_ONCE: usize = 1 << 16;
    // No decoded block is kept for the next call: callers read whole tensors or large pieces, so that
    // few blocks are decoded twice.
    let decoded_bytes = block.weights() * WEIGHT_BYTES;
    let mut stored = vec![];
    let mut decoded = vec![];
    let mut at = offset;
    for part in buffer.chunks_mut(AT_ONCE) {
        // The blocks that this part begins and ends in are decoded whole, and the part is cut out
        // of them.
        let first = at / decoded_bytes;
        let end = (at + part.len() as u64).div_ceil(decoded_bytes);
        stored.resize(((end - first) * block.bytes()) as usize, 0);
        file.read(tensor.offset + first * block.bytes(), &mut stored)?;
        decoded.clear();
        block.decode(&stored, &mut decoded);
        part.copy_from_slice(&decoded[(at - first * decoded_bytes) as usize..][..part.len()]);
        at += part.len() as u64;
    }
    Ok(())
}

/// Returns zeroed memory, or `None` where there is not enough.
fn zeroed(bytes: u64) -> Option<Vec<u8>> {
    let bytes = usize::try_from(bytes).ok()?;
    // `vec!` aborts the process when it fails but gets its zeros from the system for free;
    // asking first catches every absurd size.
    Vec::<u8>::new().try_reserve_exact(bytes).ok()?;
    Some(vec![0; bytes])
}
