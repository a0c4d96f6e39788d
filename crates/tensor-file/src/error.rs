use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::path::Path;

use thiserror::Error as ThisError;

use crate::Dtype;

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
        self.kind.help(&self.path)
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
    #[error("is rebuilt by `{}`, which is not known here", printable(call))]
    TensorCall { call: String },
    #[error("strides {strides:?} of {shape:?} read an element more than once")]
    StridesOverlap { shape: Vec<u64>, strides: Vec<u64> },
    #[error("its storage `{}` is missing", printable(storage))]
    StorageMissing { storage: String },
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

    /// Returns what to do about it, where that is not obvious from the message.
    fn help(&self, path: &Path) -> Option<Cow<'static, str>> {
        match self {
            Self::FolderAmbiguous { names, .. } => Some(Cow::Owned(name_one(path, names))),
            Self::FolderOfModels { folders } => {
                // One model of a pipeline has to be named; people mostly mean the denoiser.
                let is_denoiser = |name: &&String| ["transformer", "unet"].contains(&name.as_str());
                let first = folders.iter().find(is_denoiser).or(folders.first())?;
                let example = path.join(first);
                let example = printable(&example.to_string_lossy());
                Some(Cow::Owned(format!("name the folder of one model, such as {example}")))
            }
            other => other.fixed_help().map(Cow::Borrowed),
        }
    }

    fn fixed_help(&self) -> Option<&'static str> {
        match self {
            Self::OffsetsPastEnd { .. } | Self::Truncated { .. } | Self::HeaderPastEnd { .. } => {
                Some("the file is cut short or still being written; fetch it again")
            }
            Self::NotSafetensors { looks_like: GIT_LFS }
            | Self::NotIndex { looks_like: GIT_LFS } => Some("fetch the real file: `git lfs pull`"),
            Self::NotSafetensors { looks_like: TEXT } => Some(
                "name the weight file; where this is called so, its download was refused: fetch it again",
            ),
            Self::NotSafetensors { looks_like: PICTURE } => {
                Some("a picture holds no weights; name the weight file")
            }
            Self::NotIndex { looks_like: REPORT | CONFIGURATION } => {
                Some("name the weight file, or the folder that it lies in")
            }
            Self::NotSafetensors { looks_like: WEB_PAGE } => Some(
                "its download was refused, or needs a login or a direct link; fetch the file itself",
            ),
            Self::NotSafetensors { looks_like: ARCHIVE } => Some("unpack it first"),
            Self::TooShort { .. } => {
                Some("the file is empty, cut short or still being written; fetch it again")
            }
            Self::HeaderStart { .. } => {
                Some("the file is damaged, or no safetensors at all; fetch it again")
            }
            Self::FolderWithoutTensors => {
                Some("weight files end in .safetensors, .bin, .pt, .pth, .ckpt or .gguf")
            }
            Self::Zip { .. } => {
                Some("fetch it again; where it is an archive of something else, unpack it first")
            }
            Self::Gguf { .. } => Some("the file is damaged or cut short; fetch it again"),
            Self::HeaderTooLong { .. } => {
                Some("no safetensors file has such a header; this is something else, or damaged")
            }
            Self::TrailingBytes { .. } => Some("a repaired copy would end with the last tensor"),
            Self::MetadataValue { .. } => Some("a repaired copy would have it as a string"),
            Self::TensorCall { .. } => Some(
                "load the file with the library that wrote it and save plain tensors as safetensors",
            ),
            Self::StridesOverlap { .. } => Some("save it with `.contiguous()`"),
            Self::NoStateDict { .. } => Some(
                "nothing was run; where you trust the file, load it with PyTorch and save the model's `state_dict()` as safetensors",
            ),
            Self::StateDictAmbiguous { .. } => {
                Some("load the file with PyTorch and save the one that is meant as safetensors")
            }
            Self::GgufType { name: "NVFP4", .. } => Some("start from the original weights"),
            Self::GgufType { .. } => Some(
                "`llama-quantize --allow-requantize IN.gguf OUT.gguf F16` (llama.cpp) writes types that are read",
            ),
            Self::GgufPart { .. } => {
                Some("`llama-gguf-split --merge FIRST-PART.gguf WHOLE.gguf` (llama.cpp) joins them")
            }
            Self::NotInShard { .. } => {
                Some("fetch that shard and the index again: they are not of one model")
            }
            Self::InTwoShards { .. } => Some(
                "name the shard that counts in the index's `weight_map`, or remove the other one",
            ),
            Self::IndexDuplicate => Some("remove one of the two from the index's `weight_map`"),
            Self::IndexJson { .. } | Self::IndexEmpty | Self::NotIndex { .. } => {
                Some("fetch the index again")
            }
            Self::NotSafetensors { .. } => Some("convert it to safetensors first"),
            Self::ShardMissing { .. } => Some("fetch every file that the index names"),
            Self::ShardsMissing { .. } => {
                Some("fetch them; to read one shard alone, name its file")
            }
            Self::DuplicateTensor => Some("leave one of the two out, and save the file anew"),
            Self::DuplicateMetadata { .. }
            | Self::HeaderJson { .. }
            | Self::HeaderUtf8 { .. }
            | Self::UnknownDtype { .. }
            | Self::TooManyDimensions { .. }
            | Self::ShapeOverflow { .. }
            | Self::FractionalBytes { .. }
            | Self::DataLength { .. }
            | Self::OffsetsReversed { .. }
            | Self::Overlap { .. }
            | Self::Hole { .. } => Some(
                "no safetensors library writes such a header: the file is damaged, or its writer is wrong; fetch it again, or save the model anew",
            ),
            Self::FolderNotSynced { .. } => {
                Some("after a power failure it may be gone; the command `sync` makes sure of it")
            }
            Self::Busy => Some("wait for it, or name another output"),
            Self::UnfinishedChanged => Some("start over without it"),
            Self::Damaged => Some("memory or disk of this machine may be failing"),
            Self::LinkLeaves { .. } => Some("remove it, or put the file itself in its place"),
            Self::SideFileTooLong { .. } => Some("move it out of the folder"),
            Self::NotFolder => Some("shards are written into a folder; name another one"),
            Self::FolderNotEmpty => {
                Some("name another folder, or remove it: folders are never replaced")
            }
            Self::Exists => Some("name another file, or allow it to be replaced"),
            _ => None,
        }
    }
}

/// Name of a text in messages.
pub(crate) const TEXT: &str = "a text file";

/// Name of a picture in messages.
pub(crate) const PICTURE: &str = "a picture";

/// Name of what `--report` writes in messages.
pub(crate) const REPORT: &str = "a report of a conversion";

/// Name of a model's `config.json` in messages.
pub(crate) const CONFIGURATION: &str = "a configuration";

/// Name of an HTML file in messages.
pub(crate) const WEB_PAGE: &str = "a web page";

/// Name of a packed file in messages.
pub(crate) const ARCHIVE: &str = "a packed archive";

/// Name of a Git LFS pointer in messages.
pub(crate) const GIT_LFS: &str = "a Git LFS pointer";

/// Returns whether a character does something else than to be seen: controls, marks that reorder the line that they are
/// shown in, separators of lines, and what has no width.
pub fn steers_text(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Makes untrusted text fit to be shown on a terminal: no [characters that steer](steers_text), at most 300 characters.
pub fn printable(text: &str) -> String {
    const LIMIT_CHARS: usize = 300;
    let mut shown = String::new();
    for char in text.chars().take(LIMIT_CHARS) {
        match char {
            char if steers_text(char) => shown.extend(char.escape_default()),
            char => shown.push(char),
        }
    }
    if text.chars().nth(LIMIT_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns which of the candidates in a folder is likely meant: the one whose name the others begin
/// with, since outputs are named after their input.
fn name_one(folder: &Path, names: &[String]) -> String {
    let base = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let is_first = |name: &&String| names.iter().all(|other| other.starts_with(&base(name)));
    let original = names.iter().filter(|name| !name.ends_with(".json")).find(is_first);
    match original {
        Some(name) => format!(
            "name the file that is meant, such as {}; outputs are better off in another folder",
            printable(&folder.join(name).to_string_lossy())
        ),
        None => "name the file that is meant; shards need their index file".to_owned(),
    }
}

/// Lists the first few names, fit to be shown.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut list: Vec<String> = names.iter().take(SHOWN).map(|name| printable(name)).collect();
    if names.len() > SHOWN {
        list.push("…".into());
    }
    list.join(", ")
}
