/// What a key of an adapter's file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdapterKey<'a> {
    Part {
        module: &'a str,
        role: Role,
    },
    /// An adapter of a kind that is not merged, and why.
    Refused(&'static str),
    Unknown,
}

/// What a tensor is in its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Up,
    Down,
    Alpha,
}

/// Endings of kohya, ComfyUI, PEFT and diffusers.
const ENDINGS: [(&str, Role); 11] = [
    (".lora_up.weight", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    (".alpha", Role::Alpha),
];

/// Parts of names that belong to other kinds of adapters.
const REFUSED: [(&str, &str); 6] = [
    ("dora_scale", DORA),
    ("lora_magnitude_vector", DORA),
    ("lora_mid", "a LoRA of three factors (LoCon with `mid`) is not merged"),
    ("hada_w", "a LoHa is not merged; resave it as a LoRA"),
    ("lokr_w", "a LoKr is not merged; resave it as a LoRA"),
    ("diff_b", "changes of biases are not merged"),
];

const DORA: &str = "a DoRA scales the merged weight by its own norms, which is not done here; \
                    merge it with the program that trained it";

pub(super) fn adapter_key(name: &str) -> AdapterKey<'_> {
    if let Some((_, reason)) = REFUSED.iter().find(|(part, _)| name.contains(part)) {
        return AdapterKey::Refused(reason);
    }
    let part = ENDINGS.iter().find_map(|(ending, role)| Some((name.strip_suffix(ending)?, *role)));
    match part {
        Some((module, role)) => AdapterKey::Part { module, role },
        None => AdapterKey::Unknown,
    }
}

/// What programs put before the names of a model's modules, dots written as underscores.
const PREFIXES: [&str; 12] = [
    "base_model_model_",
    "lora_unet_",
    "lora_transformer_",
    "lora_te1_",
    "lora_te2_",
    "lora_te_",
    "lycoris_",
    "model_diffusion_model_",
    "diffusion_model_",
    "text_encoder_",
    "transformer_",
    "unet_",
];

/// The spellings of a module's name that a weight may have, longest first, dots written as
/// underscores: kohya writes them so, and thus all are alike.
pub(super) fn spellings(module: &str) -> Vec<String> {
    let mut found = vec![joined(module)];
    while let Some(shorter) = found.last().and_then(|last| {
        PREFIXES.iter().find_map(|prefix| last.strip_prefix(prefix).map(str::to_owned))
    }) {
        found.push(shorter);
    }
    found
}

/// A name with underscores for dots. Diffusers puts `processor` into names of attention.
pub(super) fn joined(name: &str) -> String {
    name.replace(".processor.", ".").replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_module() {
        for (key, role) in [
            ("lora_unet_blocks_0_attn_q.lora_up.weight", Role::Up),
            ("diffusion_model.blocks.0.attn.q.lora_down.weight", Role::Down),
            ("transformer.blocks.0.attn.q.lora_A.weight", Role::Down),
            ("base_model.model.blocks.0.attn.q.lora_B.default.weight", Role::Up),
            ("unet.blocks.0.attn.processor.q_lora.up.weight", Role::Up),
            ("blocks.0.attn.q.alpha", Role::Alpha),
        ] {
            let AdapterKey::Part { module, role: found } = adapter_key(key) else {
                panic!("{key}");
            };
            assert_eq!(found, role, "{key}");
            assert_eq!(spellings(module).last().unwrap(), "blocks_0_attn_q", "{key}");
        }
        assert_eq!(adapter_key("blocks.0.weight"), AdapterKey::Unknown);
        assert!(matches!(adapter_key("a.dora_scale"), AdapterKey::Refused(_)));
    }
}
