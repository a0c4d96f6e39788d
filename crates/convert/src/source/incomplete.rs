//! Files that look like a model by their names, and that no program opens as one.

use std::collections::BTreeSet;

use roundwise_layout::layer_of_weight;
use roundwise_tensor_file::{Checkpoint, Remark, TensorHeader, parse_python_object};
use serde::Deserialize;

use crate::model::detect::models_behind_segments;
use crate::model::{Detected, FileKind, Preset, Shapes};
use crate::source::adapter::changed_layer;
use crate::source::family::differing_family;
use crate::source::missing_blocks::missing_of_blocks;
use crate::source::model_config::{MODEL_CONFIG, ServedModel};
use crate::source::model_sizes::{
    differing_bank, differing_matrix, differing_size, unloadable_expert,
};
use crate::source::numbers::{float_dtype, fp8_grid};
use crate::source::text_part::{TextPart, families};

/// Why a file is not a model as programs look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incomplete {
    /// Every device had a slice of each matrix, and the file is one device's.
    Slice,
    /// Several machines share a conversion, and the file is what one of them made.
    Part {
        /// Its number, from 1.
        number: usize,
        /// The number of parts.
        of: usize,
    },
    /// The file holds several models, and programs open one from a file.
    Several {
        /// What their names begin with.
        segments: Vec<String>,
    },
    /// Weights are stored as what a weight is computed from in training.
    Parts {
        /// The first such layer.
        layer: String,
        /// What training does with it.
        technique: &'static str,
    },
    /// The file holds an adapter beside the weights that it changes.
    Unmerged {
        /// The first layer with a change.
        layer: String,
    },
    /// The configuration beside the file speaks of codes of a kind that is not read, and the file holds plain numbers.
    Method {
        /// What the configuration calls it.
        method: String,
    },
    /// Programs count the model's blocks, and one of them, or a weight that all others have, is not there.
    Block {
        /// What is missing.
        missing: String,
    },
    /// A tensor that programs look for in the folder of a model is not there.
    Missing {
        /// Its name.
        tensor: String,
        /// The family of the model.
        model_type: String,
    },
    /// Weights of the experts of a model are of shapes that no program loads.
    Experts {
        /// Which, and what they are.
        problem: String,
    },
    /// The configuration in the folder of a model cannot be read, or is of another model.
    Configuration {
        /// What is wrong with it.
        problem: String,
    },
}

/// Key of the header entry of a part that one machine has made.
pub(crate) const PART_KEY: &str = "roundwise_part";

/// What the entry says of the part itself.
#[derive(Deserialize)]
struct PartNumber {
    part: usize,
    of: usize,
}

/// What stands for a matrix: the end of the name of a part with two dimensions, that of another part beside it (empty
/// where there need not be one), and the technique that stores them.
const PARTS: [(&str, &str, &str); 7] = [
    (".weight.indices", ".weight.values", "a sparse matrix"),
    (ROWS_OF_SPARSE, ".weight.values", "a sparse matrix"),
    (".weight_v", ".weight_g", "weight normalization"),
    (
        ".parametrizations.weight.original1",
        ".parametrizations.weight.original0",
        "weight normalization",
    ),
    (".weight_orig", ".weight_mask", "a pruning mask"),
    (".weight_orig", ".weight_u", "spectral normalization"),
    (".parametrizations.weight.original", "", "a parametrization"),
];

/// Where the rows of a sparse matrix begin: a vector, unlike the other parts.
const ROWS_OF_SPARSE: &str = ".weight.crow_indices";

impl Incomplete {
    /// Finds out whether a file is one model, with all matrices as they are used.
    ///
    /// Matrices alone are looked at: ComfyUI's own models of sound have convolutions with weight normalization.
    pub(crate) fn find(
        file: &Checkpoint,
        shapes: &Shapes<'_>,
        detected: &Detected,
        served: Option<&ServedModel>,
    ) -> Option<Self> {
        if let Some(layer) = unmerged_layer(file) {
            return Some(Self::Unmerged { layer });
        }
        let is_slice = |remark: &Remark| matches!(remark, Remark::Slice { .. });
        if file.remarks().iter().any(is_slice) {
            return Some(Self::Slice);
        }
        // Parts that are opened together are the whole.
        if let ([_], Some(text)) = (file.files(), file.metadata().get(PART_KEY))
            && let Ok(PartNumber { part: number, of }) = serde_json::from_str(text)
        {
            return Some(Self::Part { number, of });
        }
        // Beside an adapter lies the configuration of its model.
        let served = served.filter(|_| !matches!(detected.kind, FileKind::Adapter(_)));
        if let Some(method) = served.and_then(|served| served.unread_method.clone()) {
            return Some(Self::Method { method });
        }
        if let Some((tensor, model_type)) = missing_tensor(file, shapes, served) {
            return Some(Self::Missing { tensor, model_type });
        }
        if let Some(problem) = problem_of_configuration(file, shapes, served) {
            return Some(Self::Configuration { problem });
        }
        // What other families join is not known.
        let joins = served.is_some_and(|served| served.has_known_text()) && !file.is_lone_file();
        if let Some(problem) = joins.then(|| unloadable_expert(file, shapes)).flatten() {
            return Some(Self::Experts { problem });
        }
        if detected.main.is_unknown() {
            let segments = models_behind_segments(shapes);
            return (!segments.is_empty()).then_some(Self::Several { segments });
        }
        let is_model = matches!(
            detected.kind,
            FileKind::DiffusionModel
                | FileKind::TextEncoder
                | FileKind::LanguageModel
                | FileKind::Checkpoint
        );
        if !is_model {
            return None;
        }
        let main = &detected.main;
        if let Some(missing) = missing_of_blocks(shapes, &main.prefix) {
            return Some(Self::Block { missing });
        }
        let matrices = file.tensors().iter().filter(|header| {
            (header.shape.len() == 2 || header.name.ends_with(ROWS_OF_SPARSE))
                && layer_of_weight(&header.name).is_none()
                && detected.component_of(&header.name).prefix == main.prefix
        });
        let mut parts = matrices.filter_map(|header| {
            PARTS.iter().find_map(|(end, beside, technique)| {
                let layer = header.name.strip_suffix(end)?;
                let has = |end: &str| file.get(&format!("{layer}{end}")).is_some();
                let is_whole = has(".weight");
                let is_part = beside.is_empty() || has(beside);
                (is_part && !is_whole).then(|| (layer.to_owned(), *technique))
            })
        });
        let (layer, technique) = parts.next()?;
        Some(Self::Parts { layer, technique })
    }

    /// Returns why no program opens codes of such a file.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Slice => "it is one device's share of a model: every matrix is a slice, which programs would take \
                            for the whole"
                .to_owned(),
            Self::Part { number, of } => {
                format!("it is part {number} of {of} of a model, for `roundwise merge`")
            }
            Self::Several { segments } => {
                let segments: Vec<String> = segments.iter().map(|it| format!("`{it}.`")).collect();
                let count = segments.len();
                format!("it holds {count} models, behind {}, and programs open one from a file", segments.join(" and "))
            }
            Self::Parts { layer, technique } => format!(
                "`{layer}` has no `weight`: the file holds what it is computed from ({technique}), and programs \
                 that look for the weight find none"
            ),
            Self::Unmerged { layer } => format!(
                "`{layer}` has its weight and the change of an adapter beside it, which programs that look \
                 for the weight leave out"
            ),
            Self::Method { method } => format!(
                "`quant_method: {method}` of its `{MODEL_CONFIG}` is not known here, and with it what is done to the \
                 numbers in the file before they are used"
            ),
            Self::Block { missing } => format!(
                "it lacks `{missing}`, which its other blocks have: programs would fail, or leave out what follows"
            ),
            Self::Missing { tensor, model_type } => format!(
                "no tensor is called `{tensor}`, which programs look for in a `{model_type}` with such a \
                 `{MODEL_CONFIG}`: they fail, or go on with other numbers"
            ),
            Self::Experts { problem } => problem.clone(),
            Self::Configuration { problem } => format!(
                "programs learn from `{MODEL_CONFIG}` what a folder holds, and the one in this folder {problem}"
            ),
        }
    }

    /// Returns what makes a file of it that programs open.
    pub(crate) fn way_out(&self) -> &'static str {
        match self {
            Self::Part { .. } => "`roundwise merge` puts all parts together",
            Self::Unmerged { .. } => {
                "merge it first (PEFT: `model = model.merge_and_unload()`, then save it again)"
            }
            Self::Slice => "put the shares together with the program that wrote them",
            Self::Method { .. } => "start from the weights that it was made from",
            Self::Missing { .. } => {
                "fetch all files of the model again, its configuration among them, or name the weight file for a \
                 program that opens it alone"
            }
            Self::Configuration { .. } => {
                "fetch the model's own, or name the weight file for a program that opens it alone"
            }
            Self::Block { .. } => "fetch or save the whole of it",
            Self::Experts { .. } => "save the model again with the program that it is of",
            Self::Several { .. } => "save each of them to a file of its own",
            Self::Parts { .. } => {
                "have the program that trained it fold the parts into one weight \
                 (`remove_parametrizations`, `remove_weight_norm`, `prune.remove`, `to_dense`) and save it again"
            }
        }
    }
}

/// Returns what is wrong with the configuration in the folder of a model, if something is. Programs that open a weight
/// file by itself read nothing beside it.
fn problem_of_configuration(
    file: &Checkpoint,
    shapes: &Shapes<'_>,
    served: Option<&ServedModel>,
) -> Option<String> {
    if file.is_lone_file() {
        return None;
    }
    if let Some(served) = served {
        // Codes that are read as numbers have the shape of these, others that of words.
        let is_numbers = |name: &str| {
            let header = file.get(name);
            let is_stored = header.is_some_and(|it| shapes.shape(name) == Some(&it.shape[..]));
            let is_of_numbers =
                |it: &TensorHeader| float_dtype(it.dtype).is_some() || fp8_grid(it.dtype).is_some();
            !is_stored || header.is_some_and(is_of_numbers)
        };
        let of_text =
            || differing_matrix(&text_part(file, shapes, served)?.ok()?, shapes, is_numbers);
        let families = families(&served.model_type, &served.config);
        let of_family = || {
            let is_known = served.has_known_text();
            is_known.then(|| differing_family(served.preset, &families, &served.config, shapes))?
        };
        let differing = of_family()
            .or_else(|| differing_size(&served.config, shapes))
            .or_else(|| differing_bank(&served.config, file))
            .or_else(of_text)?;
        return Some(format!("is of another model: {differing}"));
    }
    let text = file.text_beside(MODEL_CONFIG)?;
    let error = parse_python_object(&text).err()?;
    Some(format!("is no JSON object ({error})"))
}

/// Returns the tensor that programs look for in vain in the folder of a model, with the family of the model.
fn missing_tensor(
    file: &Checkpoint,
    shapes: &Shapes<'_>,
    served: Option<&ServedModel>,
) -> Option<(String, String)> {
    let served = served.filter(|_| !file.is_lone_file())?;
    let missing = match text_part(file, shapes, served)? {
        // Sizes and numbers of layers that differ tell more than the first tensor of them.
        Ok(text) if differing_size(&served.config, shapes).is_none() => text.missing_tensor()?,
        Ok(_) => return None,
        Err(missing) => missing,
    };
    Some((missing, served.model_type.clone()))
}

/// Returns the part of a model that writes text, or what is missing of it; `None` where names say nothing of it.
fn text_part<'a>(
    file: &Checkpoint,
    shapes: &'a Shapes<'a>,
    served: &'a ServedModel,
) -> Option<Result<TextPart<'a>, String>> {
    // All families that have no more rules than the common ones call their tensors alike. A weight under another name
    // is told as such.
    let is_common = served.is_known && served.preset.name == Preset::served().name;
    if !is_common || file.is_gguf() || served.unread_name.is_some() {
        return None;
    }
    TextPart::find(served.preset, &served.model_type, &served.config, shapes).transpose()
}

/// Returns the first layer that has its weight and an adapter's change of it in one file, where most of
/// the changed layers do: an adapter may hold the weight of one that it was trained with.
fn unmerged_layer(file: &Checkpoint) -> Option<String> {
    // Old classes of diffusers put `processor` between a layer and its change.
    let layer =
        |header: &TensorHeader| Some(changed_layer(&header.name)?.replace(".processor.", "."));
    let changed: BTreeSet<String> = file.tensors().iter().filter_map(layer).collect();
    let has_weight = |layer: &&String| {
        let names = [".weight", ".base_layer.weight"].map(|end| format!("{layer}{end}"));
        names.iter().any(|name| file.get(name).is_some())
    };
    let whole: Vec<&String> = changed.iter().filter(has_weight).collect();
    let first = whole.first()?;
    (2 * whole.len() >= changed.len()).then(|| (*first).clone())
}
