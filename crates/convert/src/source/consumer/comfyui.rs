//! ComfyUI's table: which kinds of files it opens with codes, from its own loaders.

use roundwise_tensor_file::Dtype;

use crate::model::{Detected, Dialect, FileKind};
use crate::source::consumer::answer::{Opens, TakesCodes};

/// Returns whether ComfyUI reads codes of a kind of file. For its loaders of whole models this is
/// known by architecture. All its other loaders read tensors as they are stored: a code counts as
/// a weight, and its scale is dropped without a word.
pub(super) fn takes_codes(detected: &Detected) -> TakesCodes {
    match detected.kind {
        FileKind::DiffusionModel | FileKind::TextEncoder | FileKind::Checkpoint => {
            by_names(detected)
        }
        FileKind::LanguageModel => by_names(detected),
        FileKind::Vae => {
            no(detected, "ComfyUI reads a VAE as it is stored: codes would count as weights")
        }
        FileKind::ControlNet => no(
            detected,
            "ComfyUI reads ControlNets as they are stored: codes would count as weights, and their \
             scales be dropped",
        ),
        FileKind::SideModel => no(
            detected,
            "ComfyUI reads what stands beside a model as it is stored: codes would count as weights, \
             and their scales be dropped",
        ),
        FileKind::Adapter(_) => TakesCodes::No {
            reason:
                "an adapter is added to weights as it is stored: codes would count as weights, \
                     and their scales be dropped"
                    .to_owned(),
            way_out:
                "merge it into its model before that is rounded; schemes `fp16` and `bf16` store \
                      plain numbers"
                    .to_owned(),
        },
        // Vectors are no weights, which plain numbers of another dtype would be made of.
        FileKind::TextualInversion => TakesCodes::No {
            reason: "its vectors are put among those of words as they are stored".to_owned(),
            way_out: "leave it as it is".to_owned(),
        },
        FileKind::Upscaler => no(
            detected,
            "ComfyUI reads upscalers as they are stored: codes would count as weights, and their \
             scales be dropped",
        ),
        FileKind::TrainingCheckpoint => TakesCodes::No {
            reason: "beside the model it holds the state of an optimizer, which no loader reads"
                .to_owned(),
            way_out: "save the model alone".to_owned(),
        },
        FileKind::Statistics => TakesCodes::No {
            reason: "it holds statistics of a model's inputs, no weights".to_owned(),
            way_out: "use it as statistics of the model that it is of".to_owned(),
        },
        FileKind::Unknown => match detected.main.is_unknown() {
            true => not_known(UNKNOWN_MODEL),
            false => not_known("codes of such a model have not been tried in ComfyUI"),
        },
    }
}

/// Returns the answer about a model in codes for one that lies in several files: a loader takes a single one.
pub(crate) fn in_files(answer: Opens, files: usize) -> Opens {
    match answer {
        Opens::Yes { .. } if files > 1 => Opens::No {
            reason: format!("ComfyUI loads a model from one file, and these are {files}"),
            way_out: "without a limit of bytes for shards it is converted into one".to_owned(),
        },
        Opens::Yes { .. } | Opens::No { .. } | Opens::NotKnown { .. } => answer,
    }
}

/// Returns whether ComfyUI's own parser of headers knows a dtype: that of its memory-mapping loader has no entry for
/// these two, and ends with a KeyError.
pub(crate) fn reads_dtype(dtype: Dtype) -> bool {
    !matches!(dtype, Dtype::F8E8M0 | Dtype::F4)
}

/// Answers for a model whose kind takes codes where its architecture and its names do.
fn by_names(detected: &Detected) -> TakesCodes {
    let main = &detected.main;
    if let Some(reason) = main.no_codes {
        return no(detected, reason);
    }
    if let Some(reason) = names_of_gguf(detected) {
        return TakesCodes::NotKnown { reason };
    }
    match detected.dialect {
        Dialect::Diffusers if !main.is_unknown() => {
            return TakesCodes::No {
                reason:
                    "its names are diffusers': ComfyUI renames and joins such layers as it loads \
                         them, and drops the scales of codes"
                        .to_owned(),
                way_out:
                    "names that are translated to the model's own take codes; schemes `fp16` and `bf16` \
                     store plain numbers under any"
                        .to_owned(),
            };
        }
        Dialect::LlamaCpp
        | Dialect::Original
        | Dialect::Diffusers
        | Dialect::Transformers
        | Dialect::Unknown => {}
    }
    // Its loader of text encoders takes no prefix off the names, that of diffusion models and checkpoints knows some.
    let beginning = match detected.kind {
        FileKind::TextEncoder | FileKind::LanguageModel => &main.prefix,
        _ => &detected.wrapper,
    };
    if !beginning.is_empty() {
        return not_known(&format!(
            "its names begin with `{beginning}`, which ComfyUI does not expect"
        ));
    }
    if main.is_unknown() {
        return not_known(UNKNOWN_MODEL);
    }
    match main.is_known_to_comfyui {
        true => TakesCodes::Yes,
        false => not_known("ComfyUI has no loader for such a model"),
    }
}

/// Returns why no other file than a GGUF may have the names that it has, in codes or in plain numbers, where
/// that is so.
pub(crate) fn names_of_gguf(detected: &Detected) -> Option<String> {
    let is_of_llama_cpp = detected.dialect == Dialect::LlamaCpp;
    is_of_llama_cpp
        .then(|| "its names are llama.cpp's, which reads them from GGUF files alone".to_owned())
}

fn no(detected: &Detected, reason: &str) -> TakesCodes {
    TakesCodes::No {
        reason: detected.main.no_codes.unwrap_or(reason).to_owned(),
        way_out: "leave it as it is; schemes `fp16` and `bf16` store plain numbers".to_owned(),
    }
}

const UNKNOWN_MODEL: &str =
    "ComfyUI does, if it is a model that ComfyUI knows, under ComfyUI's names";

fn not_known(reason: &str) -> TakesCodes {
    TakesCodes::NotKnown { reason: reason.to_owned() }
}
