mod help;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::path::Path;

use thiserror::Error as ThisError;

use crate::Dtype;
use crate::printable::{listed, printable};

/// The reason why a tensor file could not be read or written: where (path, tensor) around what
/// ([`Self::kind`]).
///
/// `Display` is complete, with the cause's own text and, where something helps, a second indented
/// line that says it. `source` still gives the underlying error; print one of the two, not both.
#[derive(Debug)]
pub struct TensorFileError {
    path: Box<Path>,
    tensor: Option<Box<str>>,
    kind: Box<TensorFileErrorKind>,
}

impl TensorFileError {
    /// Returns the file or folder that the complaint is about.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the tensor that the complaint is about, if it is about one.
    pub fn tensor(&self) -> Option<&str> {
        self.tensor.as_deref()
    }

    /// Returns what is wrong, with the numbers.
    pub fn kind(&self) -> &TensorFileErrorKind {
        &self.kind
    }

    /// Returns the message without what helps.
    pub fn problem(&self) -> String {
        let path = printable(&self.path.to_string_lossy());
        match &self.tensor {
            Some(tensor) => format!("{path}: tensor `{}`: {}", printable(tensor), self.kind),
            None => format!("{path}: {}", self.kind),
        }
    }

    /// Returns what helps, where that is not obvious from the problem.
    pub fn help(&self) -> Option<Cow<'static, str>> {
        help::help(&self.kind, &self.path)
    }
}

impl fmt::Display for TensorFileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.problem())?;
        match self.help() {
            Some(help) => write!(out, "\n  {help}"),
            None => Ok(()),
        }
    }
}

impl Error for TensorFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kind.source()
    }
}

/// Everything that can be wrong with a tensor file. Sizes and offsets are bytes; offsets count from the
/// start of the tensor data unless a variant says otherwise.
#[derive(Debug, ThisError)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum TensorFileErrorKind {
    #[error("cannot {doing}: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error("is {found}, not a regular file")]
    NotRegularFile { found: &'static str },
    #[error("is also another file, by a hard link, which writing here would change")]
    OtherNames,
    #[error("is not finished: `{}` beside it tells what of it is there", printable(control))]
    Unfinished { control: String },
    #[error("is called as a download that has not ended (`{ending}`)")]
    DownloadName { ending: &'static str },
    #[error("the folder holds no weight file")]
    FolderWithoutTensors,
    #[error("the folder holds no weight file itself; {} of its folders do: {}", folders.len(), listed(folders))]
    FolderOfModels { folders: Vec<String> },
    #[error("the folder holds {found} candidates: {}", listed(names))]
    FolderAmbiguous { found: usize, names: Vec<String> },

    #[error("the file is {found} bytes, a tensor file has at least 8")]
    TooShort { found: u64 },
    #[error("is {looks_like}, not safetensors")]
    NotSafetensors { looks_like: &'static str },
    #[error("the header claims {found} bytes, the limit is {limit}")]
    HeaderTooLong { found: u64, limit: u64 },
    #[error(
        "the header claims {header_bytes} bytes, the file has {available_bytes} after its start"
    )]
    HeaderPastEnd { header_bytes: u64, available_bytes: u64 },
    #[error("the header starts with byte {found:#04x}, not with `{{`")]
    HeaderStart { found: u8 },
    #[error("the header is not UTF-8: {source}")]
    HeaderUtf8 { source: std::str::Utf8Error },
    #[error("the header is not the JSON of a tensor file: {source}")]
    HeaderJson { source: serde_json::Error },
    #[error("the name occurs twice")]
    DuplicateTensor,
    #[error("the metadata has `{}` twice", printable(key))]
    DuplicateMetadata { key: String },
    #[error("`__metadata__`.`{}` is {found}, expected a string", printable(key))]
    MetadataValue { key: String, found: String },
    #[error("unknown dtype `{}`", printable(found))]
    UnknownDtype { found: String },
    #[error("{found} dimensions, the limit is {limit}")]
    TooManyDimensions { found: usize, limit: usize },
    #[error("shape {shape:?} overflows 64 bits")]
    ShapeOverflow { shape: Vec<u64> },
    #[error("{dtype} {shape:?} is {bits} bits, not a whole number of bytes")]
    FractionalBytes { dtype: Dtype, shape: Vec<u64>, bits: u64 },
    #[error("data is {found} bytes, {dtype} {shape:?} needs {expected}")]
    DataLength { found: u64, expected: u64, dtype: Dtype, shape: Vec<u64> },
    #[error("data begins at {begin}, after its end {end}")]
    OffsetsReversed { begin: u64, end: u64 },
    #[error("data ends at {end}, the file holds {data_bytes} bytes of data")]
    OffsetsPastEnd { end: u64, data_bytes: u64 },
    #[error("data begins at {begin}, inside `{}`, which ends at {expected}", printable(other))]
    Overlap { begin: u64, expected: u64, other: String },
    #[error("data begins at {begin}, the data before it ends at {expected}")]
    Hole { begin: u64, expected: u64 },
    #[error("{} bytes follow the last tensor, which ends at {end}", data_bytes - end)]
    TrailingBytes { end: u64, data_bytes: u64 },

    #[error("its pickle is damaged at byte {offset}: {problem}")]
    Pickle { problem: &'static str, offset: u64 },
    #[error("its pickle is longer than {limit} bytes")]
    PickleTooLong { limit: u64 },
    #[error("it holds no dictionary of tensors, but {found}")]
    NoStateDict { found: String },
    #[error("it holds several dictionaries of tensors: {}", listed(found))]
    StateDictAmbiguous { found: Vec<String> },
    #[error("is rebuilt by `{}` in a way that is not known here", printable(call))]
    TensorCall { call: String },
    #[error("is {found}, not a tensor")]
    NotTensor { found: String },
    #[error("holds the parameters of a module as PyTorch's FSDP shares them out, in one row")]
    FlatParameter,
    #[error("strides {strides:?} of {shape:?} read an element more than once")]
    StridesOverlap { shape: Vec<u64>, strides: Vec<u64> },
    #[error("its storage `{}` is missing", printable(storage))]
    StorageMissing { storage: String },
    #[error(
        "it holds a part of a DeepSpeed checkpoint (ZeRO), whose weights are in its optimizer's shards"
    )]
    ZeroShards,
    #[error("it is TorchScript: a compiled program with its weights")]
    TorchScript,
    #[error("not an archive of PyTorch: {problem}")]
    Zip { problem: &'static str },
    #[error("not GGUF, at byte {offset}: {problem}")]
    Gguf { problem: &'static str, offset: u64 },
    #[error("stored as {name} (GGUF type {found}), which is not read")]
    GgufType { found: u32, name: &'static str },
    #[error("is one of {parts} parts of a model")]
    GgufPart { parts: u64 },

    #[error("the index is {found} bytes, the limit is {limit}")]
    IndexTooLong { found: u64, limit: u64 },
    #[error("not the JSON of a shard index: {source}")]
    IndexJson { source: serde_json::Error },
    #[error("is {looks_like}, not the index of shards")]
    NotIndex { looks_like: &'static str },
    #[error("the index names no tensor")]
    IndexEmpty,
    #[error("the index has the name twice")]
    IndexDuplicate,
    #[error("the index places it in `{}`, which is not a plain file name", printable(found))]
    IndexFileName { found: String },
    #[error("the shard `{}` is missing", printable(shard))]
    ShardMissing { shard: String },
    #[error(
        "shards are missing, and there is no index that could do without them: {}",
        listed(missing)
    )]
    ShardsMissing { missing: Vec<String> },
    #[error("the index places it in `{}`, which does not hold it", printable(shard))]
    NotInShard { shard: String },
    #[error("both `{}` and `{}` hold it", printable(first), printable(second))]
    InTwoShards { first: String, second: String },

    #[error("is a link to {}, outside its folder", printable(target))]
    LinkLeaves { target: String },
    #[error("is {found} bytes, a file beside weights has at most {limit}")]
    SideFileTooLong { found: u64, limit: u64 },

    #[error("the file ends at byte {found}, the tensor at byte {expected}")]
    Truncated { found: u64, expected: u64 },
    #[error("no memory for {bytes} bytes")]
    OutOfMemory { bytes: u64 },
    #[error("bytes {offset}..+{length} are outside the tensor's {tensor_bytes}")]
    PartOutOfRange { offset: u64, length: u64, tensor_bytes: u64 },
    #[error("is to be made of no part")]
    NoParts,
    #[error("is to be made of `{}`, which is missing", printable(part))]
    PartMissing { part: String },
    #[error("is to be made of rows {begin}..{end} of `{}`, which has {rows}", printable(part))]
    PartRows { part: String, begin: u64, end: u64, rows: u64 },
    #[error(
        "is to be made of `{}`, which is {found}; its first part is {expected}",
        printable(part)
    )]
    PartDtype { part: String, found: Dtype, expected: Dtype },
    #[error("the tensor belongs to another checkpoint")]
    ForeignTensor,

    #[error("the name is reserved for the file's metadata")]
    ReservedName,
    #[error("the tensors need more than 2^63 bytes")]
    FileTooLong,
    #[error("the file exists")]
    Exists,
    #[error("is there and is not a folder")]
    NotFolder,
    #[error("the folder exists and is not empty")]
    FolderNotEmpty,
    #[error("another header would move the tensors")]
    OtherPlaces,
    #[error("another run is writing this file")]
    Busy,
    #[error("the unfinished output of an earlier run was changed since")]
    UnfinishedChanged,
    #[error("holds other bytes than were written")]
    Damaged,
    #[error("the disk has {available} bytes left, the file needs {needed}")]
    DiskFull { needed: u64, available: u64 },
    #[error("is complete and has its name, but its folder could not be synced: {source}")]
    FolderNotSynced { source: std::io::Error },
    #[error("not in the manifest")]
    UnknownTensor,
    #[error("{found} bytes given, {dtype} {shape:?} needs {expected}")]
    WrongLength { found: u64, expected: u64, dtype: Dtype, shape: Vec<u64> },
    #[error("{missing_bytes} bytes were never written, in {tensors} tensors; this is the first")]
    Incomplete { tensors: usize, missing_bytes: u64 },

    #[error("the text is {found} bytes or more, the limit is {limit}")]
    TextTooLong { found: u64, limit: u64 },
    #[error("the text is not UTF-8: {source}")]
    TextUtf8 { source: std::str::Utf8Error },
}

impl TensorFileErrorKind {
    /// Makes the error of this kind about a file or folder.
    pub(crate) fn at(self, path: &Path) -> TensorFileError {
        TensorFileError { path: path.into(), tensor: None, kind: Box::new(self) }
    }

    /// Makes the error of this kind about a tensor of a file.
    pub(crate) fn at_tensor(self, path: &Path, tensor: &str) -> TensorFileError {
        TensorFileError { path: path.into(), tensor: Some(tensor.into()), kind: Box::new(self) }
    }

    /// Makes the `map_err` argument for I/O: `doing` completes "cannot …".
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Returns the remedy for a defect that
    /// [`Checkpoint::open_tolerant`](crate::Checkpoint::open_tolerant) reads past, once the file is
    /// written anew; `None` for every other kind.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::TrailingBytes { .. } => Some("the file without them"),
            Self::MetadataValue { .. } => Some("the value as a string"),
            _ => None,
        }
    }
}
