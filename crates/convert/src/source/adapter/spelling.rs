//! The names that programs give a model's modules.

/// Which model of a checkpoint a prefix means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    Any,
    Diffusion,
    /// A text encoder, by its number; 0 is any.
    Text(u8),
}

/// Prefixes that programs put before the names of a model's modules, with underscores for dots. The
/// first that fits is taken off, so that one stands after all longer ones that begin with it.
const PREFIXES: [(&str, Hint); 25] = [
    ("base_model_model_", Hint::Any),
    ("lora_unet__", Hint::Diffusion),
    ("lora_unet_", Hint::Diffusion),
    ("lora_transformer_", Hint::Diffusion),
    ("lora_prior_unet_", Hint::Diffusion),
    ("lora_prior_te_", Hint::Text(2)),
    ("lora_te1_", Hint::Text(1)),
    ("lora_te2_", Hint::Text(2)),
    ("lora_te3_", Hint::Text(3)),
    ("lora_te_", Hint::Text(0)),
    ("lycoris_", Hint::Any),
    ("model_diffusion_model_", Hint::Diffusion),
    ("diffusion_model_", Hint::Diffusion),
    ("text_encoders_", Hint::Any),
    ("text_encoder_2_", Hint::Text(2)),
    ("text_encoder_3_", Hint::Text(3)),
    ("text_encoder_", Hint::Text(0)),
    ("transformer_", Hint::Diffusion),
    ("pipe_dit_", Hint::Diffusion),
    ("dit_", Hint::Diffusion),
    // The name that PEFT gives an adapter, where a trainer puts it first.
    ("default_", Hint::Any),
    ("net_", Hint::Any),
    ("module_", Hint::Any),
    ("unet_", Hint::Diffusion),
    ("model_", Hint::Any),
];

/// Returns the spellings of a module's name that a layer may have, longest first. Dots become
/// underscores, as kohya writes them, so that all programs' names are alike.
///
/// The first prefix that means one model of a checkpoint counts.
pub(super) fn spellings(module: &str) -> Vec<(String, Hint)> {
    let mut found = vec![(joined(module), Hint::Any)];
    // Programs put prefixes before prefixes. Every step is a spelling, since a layer's own name may
    // begin with what looks like a prefix.
    while let Some((shorter, own)) = found.last().and_then(|(last, _)| without_prefix(last)) {
        let hint = found.last().map_or(Hint::Any, |(_, hint)| *hint);
        found.push((shorter.to_owned(), if hint == Hint::Any { own } else { hint }));
    }
    // diffusers' attention processors say `to_out` for the list whose only layer is `to_out.0`.
    let outputs = found.iter().filter(|(name, _)| name.ends_with("to_out"));
    let outputs: Vec<_> = outputs.map(|(name, hint)| (format!("{name}_0"), *hint)).collect();
    found.extend(outputs);
    // Some trainers put the adapter's name behind the module's.
    let nameless =
        found.iter().filter_map(|(name, hint)| Some((name.strip_suffix("_default")?, *hint)));
    let nameless: Vec<_> = nameless.map(|(name, hint)| (name.to_owned(), hint)).collect();
    found.extend(nameless);
    found
}

fn without_prefix(name: &str) -> Option<(&str, Hint)> {
    // ComfyUI names a text encoder of a checkpoint between these two.
    let encoder = name.strip_prefix("text_encoders_").and_then(|it| it.split_once("_transformer_"));
    match encoder {
        Some(("clip_l", rest)) => Some((rest, Hint::Text(1))),
        Some(("clip_g", rest)) => Some((rest, Hint::Text(2))),
        Some((_, rest)) => Some((rest, Hint::Any)),
        None => {
            let mut prefixes = PREFIXES.iter();
            prefixes.find_map(|(prefix, hint)| Some((name.strip_prefix(prefix)?, *hint)))
        }
    }
}

/// Replaces the dots of a name by underscores, without the segments that are no part of the model's
/// names: diffusers puts `processor` into names of attention, `torch.compile` puts `_orig_mod` into any.
pub(super) fn joined(name: &str) -> String {
    let name = name.strip_prefix("_orig_mod.").unwrap_or(name);
    name.replace(".processor.", ".").replace("._orig_mod.", ".").replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_leads_to_the_module() {
        for (module, hint) in [
            ("lora_unet_blocks_0_attn_q", Hint::Diffusion),
            ("lora_unet__blocks_0_attn_q", Hint::Diffusion),
            ("lora_prior_unet_blocks_0_attn_q", Hint::Diffusion),
            ("lora_te_blocks_0_attn_q", Hint::Text(0)),
            ("lora_te1_blocks_0_attn_q", Hint::Text(1)),
            ("lora_te2_blocks_0_attn_q", Hint::Text(2)),
            ("lora_te3_blocks_0_attn_q", Hint::Text(3)),
            ("lora_prior_te_blocks_0_attn_q", Hint::Text(2)),
            ("lycoris_blocks_0_attn_q", Hint::Any),
            ("lora_transformer_blocks_0_attn_q", Hint::Diffusion),
            ("diffusion_model.blocks.0.attn.q", Hint::Diffusion),
            ("transformer.blocks.0.attn.q", Hint::Diffusion),
            ("transformer._orig_mod.blocks.0.attn.q", Hint::Diffusion),
            ("base_model.model.blocks.0.attn.q", Hint::Any),
            ("unet.base_model.model.blocks.0.attn.q", Hint::Diffusion),
            ("unet.blocks.0.attn.processor.q", Hint::Diffusion),
            ("text_encoder.blocks.0.attn.q", Hint::Text(0)),
            ("text_encoder_2.blocks.0.attn.q", Hint::Text(2)),
            ("text_encoders.blocks.0.attn.q", Hint::Any),
            ("text_encoders.clip_g.transformer.blocks.0.attn.q", Hint::Text(2)),
            ("text_encoders.qwen3_4b.transformer.model.blocks.0.attn.q", Hint::Any),
            ("pipe.dit.blocks.0.attn.q", Hint::Diffusion),
            ("module.blocks.0.attn.q", Hint::Any),
            ("net.blocks.0.attn.q", Hint::Any),
            ("default.blocks.0.attn.q", Hint::Any),
            ("base_model.model.blocks.0.attn.q.default", Hint::Any),
            ("transformer.default.blocks.0.attn.q", Hint::Diffusion),
            ("blocks.0.attn.q", Hint::Any),
        ] {
            let found = spellings(module);
            assert_eq!(found.last().unwrap(), &("blocks_0_attn_q".to_owned(), hint), "{module}");
        }
        assert!(
            spellings("unet.mid.attn1.processor.to_out")
                .iter()
                .any(|it| it.0 == "mid_attn1_to_out_0")
        );
    }
}
