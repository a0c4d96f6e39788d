//! What helps where a file cannot be read or written.

use std::borrow::Cow;
use std::path::Path;

use crate::TensorFileErrorKind as Kind;
use crate::lookalike::{ARCHIVE, CONFIGURATION, GIT_LFS, PICTURE, REPORT, TEXT, WEB_PAGE};
use crate::printable::printable;

/// Returns what helps, where that is not obvious from the problem.
pub(super) fn help(kind: &Kind, path: &Path) -> Option<Cow<'static, str>> {
    match kind {
        Kind::FolderAmbiguous { names, .. } => Some(Cow::Owned(name_one(path, names))),
        Kind::FolderOfModels { folders } => name_folder(path, folders).map(Cow::Owned),
        // A kind belongs to one subject, so that their order does not matter.
        other => [lookalikes, headers, containers, shards, outputs]
            .into_iter()
            .find_map(|subject| subject(other))
            .map(Cow::Borrowed),
    }
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

fn name_folder(path: &Path, folders: &[String]) -> Option<String> {
    // One model of a pipeline has to be named; people mostly mean the denoiser.
    let is_denoiser = |name: &&String| ["transformer", "unet"].contains(&name.as_str());
    let example = path.join(folders.iter().find(is_denoiser).or(folders.first())?);
    let example = printable(&example.to_string_lossy());
    Some(format!("name the folder of one model, such as {example}"))
}

/// Another file than the one that is meant.
fn lookalikes(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::NotSafetensors { looks_like: GIT_LFS } | Kind::NotIndex { looks_like: GIT_LFS } => {
            "fetch the real file: `git lfs pull`"
        }
        Kind::Unfinished { .. } => {
            "let the program that writes it end; what it has not written would count as zeros"
        }
        Kind::DownloadName { .. } => "let the download end; where the file is whole, rename it",
        Kind::NotSafetensors { looks_like: TEXT } => {
            "name the weight file; where this is called so, its download was refused: fetch it again"
        }
        Kind::NotSafetensors { looks_like: PICTURE } => {
            "a picture holds no weights; name the weight file"
        }
        Kind::NotSafetensors { looks_like: WEB_PAGE } => {
            "its download was refused, or needs a login or a direct link; fetch the file itself"
        }
        Kind::NotSafetensors { looks_like: ARCHIVE } => "unpack it first",
        Kind::NotSafetensors { .. } => "convert it to safetensors first",
        Kind::NotIndex { looks_like: REPORT | CONFIGURATION } => {
            "name the weight file, or the folder that it lies in"
        }
        Kind::NotIndex { .. } => "fetch the index again",
        Kind::FolderWithoutTensors => {
            "weight files end in .safetensors, .bin, .pt, .pth, .ckpt or .gguf"
        }
        _ => return None,
    })
}

/// Headers and lengths of safetensors.
fn headers(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::OffsetsPastEnd { .. } | Kind::Truncated { .. } | Kind::HeaderPastEnd { .. } => {
            "the file is cut short or still being written; fetch it again"
        }
        Kind::TooShort { .. } => {
            "the file is empty, cut short or still being written; fetch it again"
        }
        Kind::HeaderStart { .. } => "the file is damaged, or no safetensors at all; fetch it again",
        Kind::HeaderTooLong { .. } => {
            "no safetensors file has such a header; this is something else, or damaged"
        }
        Kind::TrailingBytes { .. } => "a repaired copy would end with the last tensor",
        Kind::MetadataValue { .. } => "a repaired copy would have it as a string",
        Kind::DuplicateTensor => "leave one of the two out, and save the file anew",
        Kind::DuplicateMetadata { .. }
        | Kind::HeaderJson { .. }
        | Kind::HeaderUtf8 { .. }
        | Kind::UnknownDtype { .. }
        | Kind::TooManyDimensions { .. }
        | Kind::ShapeOverflow { .. }
        | Kind::FractionalBytes { .. }
        | Kind::DataLength { .. }
        | Kind::OffsetsReversed { .. }
        | Kind::Overlap { .. }
        | Kind::Hole { .. } => {
            "no safetensors library writes such a header: the file is damaged, or its writer is wrong; \
             fetch it again, or save the model anew"
        }
        _ => return None,
    })
}

/// Files of PyTorch and GGUF.
fn containers(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::ZeroShards => {
            "`python zero_to_fp32.py CHECKPOINT-FOLDER OUTPUT` puts them together; DeepSpeed leaves the \
             script beside the shards"
        }
        Kind::TorchScript => {
            "where you trust the file, `torch.save(torch.jit.load(FILE).state_dict(), OUTPUT)` saves \
             its weights alone"
        }
        Kind::Zip { .. } => {
            "fetch it again; where it is an archive of something else, unpack it first"
        }
        Kind::TensorCall { .. } => {
            "load the file with the library that wrote it and save plain tensors as safetensors"
        }
        Kind::NotTensor { .. } => {
            "it would be lost: load the file with PyTorch and save it again with every weight as a tensor under \
             a name of its own (`torch.from_numpy` makes one of an array)"
        }
        Kind::FlatParameter => {
            "save the model with FSDP's full state dict (`StateDictType.FULL_STATE_DICT`)"
        }
        Kind::StridesOverlap { .. } => "save it with `.contiguous()`",
        Kind::NoStateDict { .. } => {
            "nothing was run; where you trust the file, load it with PyTorch and save the model's \
             `state_dict()` as safetensors"
        }
        Kind::StateDictAmbiguous { .. } => {
            "load the file with PyTorch and save the one that is meant as safetensors"
        }
        Kind::Gguf { .. } => "the file is damaged or cut short; fetch it again",
        Kind::GgufType { name: "NVFP4", .. } => "start from the original weights",
        Kind::GgufType { .. } => {
            "`llama-quantize --allow-requantize IN.gguf OUT.gguf F16` (llama.cpp) writes types that are read"
        }
        Kind::GgufPart { .. } => {
            "`llama-gguf-split --merge FIRST-PART.gguf WHOLE.gguf` (llama.cpp) joins them"
        }
        _ => return None,
    })
}

/// Shards and their index.
fn shards(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::NotInShard { .. } => {
            "fetch that shard and the index again: they are not of one model"
        }
        Kind::InTwoShards { .. } => {
            "name the shard that counts in the index's `weight_map`, or remove the other one"
        }
        Kind::IndexDuplicate => "remove one of the two from the index's `weight_map`",
        Kind::IndexJson { .. } | Kind::IndexEmpty => "fetch the index again",
        Kind::ShardMissing { .. } => "fetch every file that the index names",
        Kind::ShardsMissing { .. } => "fetch them; to read one shard alone, name its file",
        _ => return None,
    })
}

/// Places that are written to, and what lies beside weights.
fn outputs(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::FolderNotSynced { .. } => {
            "after a power failure it may be gone; the command `sync` makes sure of it"
        }
        Kind::Busy => "wait for it, or name another output",
        Kind::UnfinishedChanged => "start over without it",
        Kind::Damaged => "memory or disk of this machine may be failing",
        Kind::LinkLeaves { .. } => "remove it, or put the file itself in its place",
        Kind::SideFileTooLong { .. } => "move it out of the folder",
        Kind::NotFolder => "shards are written into a folder; name another one",
        Kind::FolderNotEmpty => "name another folder, or remove it: folders are never replaced",
        Kind::Exists => "name another file, or allow it to be replaced",
        _ => return None,
    })
}
