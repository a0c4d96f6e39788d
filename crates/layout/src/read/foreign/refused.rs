//! Codes of programs that are not read, told by the tensors that stand beside them.

use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

/// How one program's layers are told: the name of a tensor ends so, and that of the layer's others, if any
/// are needed, too.
struct Sign {
    end: &'static str,
    beside: &'static [&'static str],
    program: &'static str,
    /// Dtypes of the layer's `.weight`, where the names alone do not tell.
    weight: &'static [Dtype],
}

const fn sign(end: &'static str, beside: &'static [&'static str], program: &'static str) -> Sign {
    Sign { end, beside, program, weight: &[] }
}

/// A sign that counts beside a weight of one of these dtypes only.
const fn beside_codes(
    end: &'static str,
    beside: &'static [&'static str],
    weight: &'static [Dtype],
    program: &'static str,
) -> Sign {
    Sign { end, beside, program, weight }
}

/// Tried in this order; the first that fits a layer names its program. Programs whose codes are read
/// are among them for files that lack one of the tensors.
const SIGNS: [Sign; 32] = [
    sign(".weight_packed", &[".meta"], "compressed-tensors (2:4 sparse)"),
    sign(".compressed", &[".bitmask"], "compressed-tensors (sparse by a bit mask)"),
    sign(".weight.absmax", &[".weight.quant_map"], "bitsandbytes (4 bits)"),
    sign(".SCB", &[".weight"], "bitsandbytes (INT8)"),
    sign(".weight.SCB", &[], "bitsandbytes (INT8)"),
    sign(".qweight", &[".wscales"], "SVDQuant (nunchaku)"),
    sign(".qweight", &[".smooth_factor"], "SVDQuant (nunchaku)"),
    sign(".qweight", &[".smooth"], "SVDQuant (nunchaku)"),
    beside_codes(".weight.absmax", &[], &[Dtype::U8], "bitsandbytes (4 bits)"),
    sign(".qweight", &[".weight_scales"], "EETQ"),
    beside_codes(".weight_scales", &[], &[Dtype::I8], "EETQ"),
    sign(".qweight", &[".zeros", ".scales"], "BitBLAS"),
    beside_codes(".biases", &[".scales"], &[Dtype::U32, Dtype::I32], "MLX"),
    beside_codes(".svd_up", &[".scale", ".svd_down"], &[Dtype::U8, Dtype::I8], "SDNQ"),
    beside_codes(".zero_point", &[".scale"], &[Dtype::U8, Dtype::I8], "SDNQ"),
    beside_codes(".tables2", &[".tables", ".scales"], &[Dtype::I16], "HIGGS (FLUTE)"),
    sign(".indices", &[".centroids.weight"], "VPTQ"),
    sign(".indices", &[".centroids"], "VPTQ"),
    sign(".dense_weights", &[".row_offsets"], "SpQR"),
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
];

/// Programs whose codes are refused by their names.
pub const REFUSED_PROGRAMS: [&str; 14] = [
    "compressed-tensors (2:4 sparse)",
    "compressed-tensors (sparse by a bit mask)",
    "SVDQuant (nunchaku)",
    "ExLlamaV2",
    "ExLlamaV3",
    "QuIP#",
    "AQLM",
    "MLX",
    "SDNQ",
    "EETQ",
    "BitBLAS",
    "HIGGS (FLUTE)",
    "VPTQ",
    "SpQR",
];

/// Returns the layer that a tensor belongs to, and the program whose codes it is in.
pub(crate) fn refused<'a>(
    file: &Checkpoint,
    header: &'a TensorHeader,
) -> Option<(&'a str, &'static str)> {
    SIGNS.iter().find_map(|sign| {
        let layer = header.name.strip_suffix(sign.end)?;
        let is_there = |part: &&str| file.get(&format!("{layer}{part}")).is_some();
        let weight = file.get(&format!("{layer}.weight"));
        let is_of_codes = sign.weight.is_empty()
            || weight.is_some_and(|weight| sign.weight.contains(&weight.dtype));
        (is_of_codes && sign.beside.iter().all(is_there)).then_some((layer, sign.program))
    })
}
