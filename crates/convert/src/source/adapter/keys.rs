//! Reads the keys of an adapter's file.

/// The meaning of a key of an adapter's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AdapterKey<'a> {
    /// A tensor of a module.
    Part {
        /// The module, as the file spells it.
        module: &'a str,
        role: Role,
    },
    /// A tensor that stands for the model's own: PEFT's `modules_to_save`.
    Replacement {
        /// Name of the model's tensor, as the file spells it.
        tensor: String,
    },
    /// An adapter of a kind that is not merged, and why.
    Refused(&'static str),
    Unknown,
}

/// The role of a tensor in its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Up,
    Down,
    Mid,
    /// Of an embedding, `[rank, entries]`.
    EmbeddingDown,
    /// Of an embedding, `[width, rank]`.
    EmbeddingUp,
    /// Of a pair that also changes the bias.
    UpBias,
    Alpha,
    /// DoRA's norms in the spelling of LyCORIS: one per row or one per column.
    DoraScale,
    /// DoRA's norms in the spelling of PEFT: one per output.
    Magnitude,
    HadaW1A,
    HadaW1B,
    HadaW2A,
    HadaW2B,
    HadaT1,
    HadaT2,
    LokrW1,
    LokrW1A,
    LokrW1B,
    LokrW2,
    LokrW2A,
    LokrW2B,
    LokrT2,
    OftBlocks,
    /// PEFT's, above the diagonals.
    OftR,
    BoftR,
    /// A factor of each row.
    BoftS,
    Rescale,
    GloraA1,
    GloraA2,
    GloraB1,
    GloraB2,
    /// A change of the weight, norms included.
    Diff,
    DiffBias,
}

/// Endings of kohya, LyCORIS, ComfyUI and diffusers; longer before shorter.
const ENDINGS: [(&str, Role); 37] = [
    (".lora_up.weight", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_mid.weight", Role::Mid),
    (".lora_linear_layer.up.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    (".dora_scale", Role::DoraScale),
    (".hada_w1_a", Role::HadaW1A),
    (".hada_w1_b", Role::HadaW1B),
    (".hada_w2_a", Role::HadaW2A),
    (".hada_w2_b", Role::HadaW2B),
    (".hada_t1", Role::HadaT1),
    (".hada_t2", Role::HadaT2),
    (".lokr_w1", Role::LokrW1),
    (".lokr_w1_a", Role::LokrW1A),
    (".lokr_w1_b", Role::LokrW1B),
    (".lokr_w2", Role::LokrW2),
    (".lokr_w2_a", Role::LokrW2A),
    (".lokr_w2_b", Role::LokrW2B),
    (".lokr_t2", Role::LokrT2),
    (".oft_blocks", Role::OftBlocks),
    (".rescale", Role::Rescale),
    (".a1.weight", Role::GloraA1),
    (".a2.weight", Role::GloraA2),
    (".b1.weight", Role::GloraB1),
    (".b2.weight", Role::GloraB2),
    (".diff", Role::Diff),
    (".diff_b", Role::DiffBias),
    (".w_norm", Role::Diff),
    (".b_norm", Role::DiffBias),
    // USO names two streams of a FLUX block so; the stream stays a part of the module.
    ("_lora1.up.weight", Role::Up),
    ("_lora1.down.weight", Role::Down),
    ("_lora2.up.weight", Role::Up),
    ("_lora2.down.weight", Role::Down),
];

/// Endings of an alpha, behind a module or one of its tensors.
pub(super) const ALPHAS: [&str; 3] = [".alpha", ".lora_alpha", ".network_alpha"];

/// PEFT's tensors, behind which an adapter's name and `.weight` may stand.
const PEFT: [(&str, Role); 15] = [
    (".lora_A", Role::Down),
    (".lora_B", Role::Up),
    (".lora_embedding_A", Role::EmbeddingDown),
    (".lora_embedding_B", Role::EmbeddingUp),
    (".lora_magnitude_vector", Role::Magnitude),
    (".hada_w1_a", Role::HadaW1A),
    (".hada_w1_b", Role::HadaW1B),
    (".hada_w2_a", Role::HadaW2A),
    (".hada_w2_b", Role::HadaW2B),
    (".lokr_w1", Role::LokrW1),
    (".lokr_w2", Role::LokrW2),
    (".lokr_t2", Role::LokrT2),
    (".oft_R", Role::OftR),
    (".boft_R", Role::BoftR),
    (".boft_s", Role::BoftS),
];

/// Parts of names that belong to adapters which are not merged.
const REFUSED: [(&str, &str); 10] = [
    (
        ".set_weight",
        "sets weights instead of adding to them (`set_weight`); load it beside the model",
    ),
    (
        ".reshape_weight",
        "gives a weight another shape (`reshape_weight`); load it beside the model",
    ),
    (".oft_r", "an OFT of a PEFT before 0.16 is not merged; merge it with that"),
    (".vera_lambda", "a VeRA is not merged; merge it with PEFT"),
    (".ia3_l", "an IA³ is not merged; merge it with PEFT"),
    (".on_input", "an IA³ is not merged; merge it with LyCORIS"),
    (
        ".lora_a",
        "a LoRA of llama.cpp is not merged; its `llama-export-lora` merges it into its model",
    ),
    (
        ".lora_scale",
        "has factors (`lora_scale`) that no program is known to write; merge it with its own",
    ),
    (".qweight", "an adapter in codes of its own is not merged; load it with its program"),
    (".lora_E", "an AdaLoRA is not merged; merge it with PEFT"),
];

pub(super) fn adapter_key(name: &str) -> AdapterKey<'_> {
    if let Some((_, reason)) = REFUSED.iter().find(|(part, _)| is_segment(name, part)) {
        return AdapterKey::Refused(reason);
    }
    if let Some((module, rest)) = name.split_once(".modules_to_save.") {
        // An adapter's name, where there is one, comes first.
        let leaf = rest.rsplit_once('.').map_or(rest, |(_, leaf)| leaf);
        return AdapterKey::Replacement { tensor: format!("{module}.{leaf}") };
    }
    if let Some(of) = ALPHAS.iter().find_map(|ending| name.strip_suffix(ending)) {
        return AdapterKey::Part { module: module_of(of), role: Role::Alpha };
    }
    part_key(name).unwrap_or(AdapterKey::Unknown)
}

/// Returns the layer whose weight a tensor changes as the first of two factors, or as a rotation.
pub(crate) fn changed_layer(name: &str) -> Option<&str> {
    match part_key(name)? {
        AdapterKey::Part {
            module,
            role:
                Role::Down
                | Role::HadaW1A
                | Role::LokrW1
                | Role::LokrW1A
                | Role::OftBlocks
                | Role::OftR
                | Role::BoftR,
        } => Some(module),
        _ => None,
    }
}

fn part_key(name: &str) -> Option<AdapterKey<'_>> {
    let ending =
        ENDINGS.iter().find_map(|(ending, role)| Some((name.strip_suffix(ending)?, *role)));
    if let Some((module, role)) = ending {
        // The name of the stream stays: both streams of a block would else be one module.
        let stream = ["_lora1", "_lora2"].iter().find(|it| name[module.len()..].starts_with(**it));
        let module = &name[..module.len() + stream.map_or(0, |it| it.len())];
        return Some(AdapterKey::Part { module, role });
    }
    PEFT.iter().find_map(|(part, role)| peft_key(name, part, *role))
}

/// Returns the module of `MODULE`, `MODULE.PART` or `MODULE.PART.weight`.
fn module_of(name: &str) -> &str {
    let with_weight = format!("{name}.weight");
    match part_key(name).or_else(|| part_key(&with_weight)) {
        Some(AdapterKey::Part { module, .. }) => &name[..module.len()],
        _ => name,
    }
}

/// Parses `MODULE.PART`, `MODULE.PART.weight`, `MODULE.PART.ADAPTER` or
/// `MODULE.PART.ADAPTER.weight`.
fn peft_key<'a>(name: &'a str, part: &str, role: Role) -> Option<AdapterKey<'a>> {
    // The last one, for a module may have such a part in its own name.
    let start = name.rfind(part)?;
    let rest = match &name[start + part.len()..] {
        "" => "",
        rest => rest.strip_prefix('.')?,
    };
    // Anything else there is the adapter's name.
    let role = match rest.rsplit_once('.').map_or(rest, |(_, leaf)| leaf) {
        "bias" if role == Role::Up => Role::UpBias,
        "bias" => return None,
        _ => role,
    };
    Some(AdapterKey::Part { module: &name[..start], role })
}

/// Returns whether a part of a name ends where a segment does. One for each layer counts as well,
/// such as `lora_E` in `lora_E.default`.
fn is_segment(name: &str, part: &str) -> bool {
    name.rfind(part).is_some_and(|start| {
        let rest = &name[start + part.len()..];
        rest.is_empty() || rest.starts_with(['.', '_'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every ending that ComfyUI 0.33 takes, and those of PEFT.
    #[test]
    fn every_spelling_is_known() {
        let cases = [
            ("m.lora_up.weight", "m", Role::Up),
            ("m.lora_down.weight", "m", Role::Down),
            ("m.lora_mid.weight", "m", Role::Mid),
            ("m_lora.up.weight", "m", Role::Up),
            ("m_lora.down.weight", "m", Role::Down),
            ("m.lora.up.weight", "m", Role::Up),
            ("m.lora.down.weight", "m", Role::Down),
            ("m.lora_linear_layer.up.weight", "m", Role::Up),
            ("m.lora_linear_layer.down.weight", "m", Role::Down),
            ("m.lora_B", "m", Role::Up),
            ("m.lora_A", "m", Role::Down),
            ("m.lora_B.weight", "m", Role::Up),
            ("m.lora_A.weight", "m", Role::Down),
            ("m.lora_B.default.weight", "m", Role::Up),
            ("m.lora_A.my_style.weight", "m", Role::Down),
            ("m.lora_B.bias", "m", Role::UpBias),
            ("m.lora_B.default.bias", "m", Role::UpBias),
            ("m.lora_embedding_A", "m", Role::EmbeddingDown),
            ("m.lora_embedding_B.default", "m", Role::EmbeddingUp),
            ("m.lora_magnitude_vector", "m", Role::Magnitude),
            ("m.lora_magnitude_vector.default.weight", "m", Role::Magnitude),
            ("m.alpha", "m", Role::Alpha),
            ("m.lora_alpha", "m", Role::Alpha),
            ("m.dora_scale", "m", Role::DoraScale),
            ("m.hada_w1_a", "m", Role::HadaW1A),
            ("m.hada_w2_b.default", "m", Role::HadaW2B),
            ("m.hada_t2", "m", Role::HadaT2),
            ("m.lokr_w1", "m", Role::LokrW1),
            ("m.lokr_w2_a", "m", Role::LokrW2A),
            ("m.lokr_t2", "m", Role::LokrT2),
            ("m.oft_blocks", "m", Role::OftBlocks),
            ("m.oft_R.weight", "m", Role::OftR),
            ("m.oft_R.default.weight", "m", Role::OftR),
            ("m.boft_R", "m", Role::BoftR),
            ("m.boft_s.default", "m", Role::BoftS),
            ("m.rescale", "m", Role::Rescale),
            ("m.b2.weight", "m", Role::GloraB2),
            ("m.diff", "m", Role::Diff),
            ("m.diff_b", "m", Role::DiffBias),
            ("m.w_norm", "m", Role::Diff),
            ("m.b_norm", "m", Role::DiffBias),
            ("m.processor.qkv_lora1.up.weight", "m.processor.qkv_lora1", Role::Up),
        ];
        for (key, expected, role) in cases {
            match adapter_key(key) {
                AdapterKey::Part { module, role: found, .. } => {
                    assert_eq!((module, found), (expected, role), "{key}");
                }
                other => panic!("{key}: {other:?}"),
            }
        }
        assert_eq!(adapter_key("blocks.0.weight"), AdapterKey::Unknown);
        assert_eq!(adapter_key("blocks.0.bias"), AdapterKey::Unknown);
        let replacement = AdapterKey::Replacement { tensor: "m.head.weight".to_owned() };
        assert_eq!(adapter_key("m.head.modules_to_save.default.weight"), replacement);
        for refused in [
            "m.set_weight",
            "m.reshape_weight",
            "m.oft_r",
            "m.vera_lambda_b",
            "blk.0.attn_q.weight.lora_a",
            "m.lora_scale",
        ] {
            assert!(matches!(adapter_key(refused), AdapterKey::Refused(_)), "{refused}");
        }
    }
}
