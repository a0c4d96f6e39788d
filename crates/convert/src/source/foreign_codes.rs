//! Codes of other programs that are not read here, recognised by the tensors beside them.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_layout::{Defect, StoredLayers};
use roundwise_tensor_file::Checkpoint;

/// A layer in codes of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignCodes {
    pub(crate) layer: String,
    /// The program and its kind of codes.
    pub(crate) program: &'static str,
}

/// The sign of one program's layers: the ending of a tensor's name, and the endings of other
/// tensors of the layer, if any are needed.
struct Sign {
    end: &'static str,
    beside: &'static [&'static str],
    program: &'static str,
}

const fn sign(end: &'static str, beside: &'static [&'static str], program: &'static str) -> Sign {
    Sign { end, beside, program }
}

/// Tried in this order; the first that fits a layer names its program.
const SIGNS: [Sign; 27] = [
    sign(".weight.quant_state.bitsandbytes__nf4", &[], "bitsandbytes (NF4)"),
    sign(".weight.quant_state.bitsandbytes__fp4", &[], "bitsandbytes (FP4)"),
    sign(".weight.absmax", &[".weight.quant_map"], "bitsandbytes (4 bits)"),
    sign(".SCB", &[".weight"], "bitsandbytes (INT8)"),
    sign(".weight.SCB", &[], "bitsandbytes (INT8)"),
    sign(".qweight", &[".wscales"], "SVDQuant (nunchaku)"),
    sign(".qweight", &[".smooth_factor"], "SVDQuant (nunchaku)"),
    sign(".qweight", &[".smooth"], "SVDQuant (nunchaku)"),
    sign(".qweight", &[".g_idx"], "GPTQ"),
    sign(".qweight", &[".qzeros", ".scales"], "AWQ or GPTQ"),
    sign(".qweight", &[], "a program of the GPTQ family"),
    sign(".W_q", &[], "HQQ"),
    sign(".weight._data", &[], "quanto"),
    sign(".weight._data._data", &[], "quanto"),
    sign(".weight._scale", &[], "quanto"),
    sign(".weight:qdata", &[], "torchao"),
    sign("._weight_qdata", &[], "torchao"),
    sign(".q_weight", &[".q_scale"], "ExLlamaV2"),
    sign(".trellis", &[".suh"], "ExLlamaV3"),
    sign(".Qidxs", &[], "QuIP#"),
    sign(".codebooks", &[".codes", ".scales"], "AQLM"),
    sign(".gate_up_proj", &[".gate_up_proj_scale_inv"], "transformers (FP8 experts)"),
    sign(".down_proj", &[".down_proj_scale_inv"], "transformers (FP8 experts)"),
    sign(".gate_up_proj", &[".gate_up_proj_scale"], "transformers (FP8 experts)"),
    sign(".down_proj", &[".down_proj_scale"], "transformers (FP8 experts)"),
    sign(".gate_up_proj_blocks", &[".gate_up_proj_scales"], "gpt-oss (MXFP4)"),
    sign(".down_proj_blocks", &[".down_proj_scales"], "gpt-oss (MXFP4)"),
];

impl ForeignCodes {
    /// Finds every layer in codes of another program, in name order; layers that are read here are
    /// none of them.
    pub(crate) fn find(file: &Checkpoint, stored: &StoredLayers) -> Vec<Self> {
        let mut found = BTreeMap::<&str, &'static str>::new();
        for sign in &SIGNS {
            let names = file.tensors().iter().map(|header| header.name.as_str());
            let layers = names.filter_map(|name| name.strip_suffix(sign.end));
            for layer in layers.filter(|layer| !stored.layers.contains_key(*layer)) {
                let is_there = |part: &&str| file.get(&format!("{layer}{part}")).is_some();
                if sign.beside.iter().all(is_there) {
                    found.entry(layer).or_insert(sign.program);
                }
            }
        }
        let found = found.into_iter();
        found.map(|(layer, program)| Self { layer: layer.to_owned(), program }).collect()
    }

    fn defect(&self) -> Defect {
        let Self { layer, program } = self;
        let problem = format!(
            "holds codes of {program}, which are not read here: load the model with that program and \
             save it dequantized"
        );
        Defect { layer: layer.clone(), problem, breaks: "" }
    }

    /// Puts these layers among those that cannot be read, in place of what else was said of them.
    pub(crate) fn refuse(found: &[Self], stored: &mut StoredLayers) {
        let layers: BTreeSet<&str> = found.iter().map(|codes| codes.layer.as_str()).collect();
        stored.defects.retain(|defect| !layers.contains(defect.layer.as_str()));
        stored.defects.extend(found.iter().map(Self::defect));
        stored.defects.sort();
    }
}
