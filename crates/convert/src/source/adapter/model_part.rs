//! Which model of a checkpoint a layer belongs to.

use crate::source::adapter::spelling::Hint;

/// A model of a checkpoint, as far as the names of adapters tell models apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelPart {
    Diffusion,
    /// CLIP-L, or the only CLIP there is.
    FirstClip,
    /// CLIP-G.
    SecondClip,
    /// T5, or a language model.
    OtherText,
    /// A file that holds one model.
    Unknown,
}

impl ModelPart {
    /// Returns the part of a checkpoint that a layer belongs to.
    ///
    /// - `shape`: of a tensor of the model
    pub(super) fn of<'a>(layer: &str, shape: impl Fn(&str) -> Option<&'a [u64]>) -> Self {
        for (mark, first) in [
            ("text_model.encoder.layers.", "0.self_attn.q_proj.weight"),
            ("transformer.resblocks.", "0.attn.in_proj_weight"),
        ] {
            if let Some((prefix, _)) = layer.split_once(mark) {
                let is_named = prefix.contains("clip_g") || prefix.contains("embedders.1.");
                let width = shape(&format!("{prefix}{mark}{first}")).and_then(|it| it.get(1));
                return match is_named || width == Some(&CLIP_G_WIDTH) {
                    true => ModelPart::SecondClip,
                    false => ModelPart::FirstClip,
                };
            }
        }
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| layer.starts_with(prefix));
        if starts(&["model.diffusion_model.", "diffusion_model."]) {
            ModelPart::Diffusion
        } else if starts(&["text_encoders.", "cond_stage_model.", "conditioner."]) {
            ModelPart::OtherText
        } else {
            ModelPart::Unknown
        }
    }

    /// Returns whether an adapter's prefix may mean this model.
    pub(super) fn answers_to(self, hint: Hint, has_first_clip: bool) -> bool {
        match (hint, self) {
            (Hint::Any, _) | (_, ModelPart::Unknown) => true,
            (Hint::Diffusion, part) => part == ModelPart::Diffusion,
            (Hint::Text(_), ModelPart::Diffusion) => false,
            (Hint::Text(_), ModelPart::OtherText) => true,
            (Hint::Text(number), ModelPart::FirstClip) => number <= 1,
            (Hint::Text(number), ModelPart::SecondClip) => {
                number == 2 || (number == 0 && !has_first_clip)
            }
        }
    }
}

/// Columns of CLIP-G's attention.
const CLIP_G_WIDTH: u64 = 1280;

/// Prefixes of a model's names that adapters leave out.
const PREFIXES: [&str; 6] =
    ["model.diffusion_model.", "diffusion_model.", "model.model.", "net.", "model.", "_orig_mod."];

/// Returns a layer's name with and without the prefixes of checkpoints, longest first.
pub(super) fn bare_names(layer: &str) -> Vec<&str> {
    let mut names = vec![layer];
    let encoder = encoder_layer(layer);
    let bare = PREFIXES.iter().find_map(|prefix| layer.strip_prefix(prefix));
    names.extend(encoder.or(bare));
    let inner = match encoder {
        Some(layer) => layer.strip_prefix("model."),
        // ACE-Step 1.5 has its diffusion model there.
        None => bare.and_then(|layer| layer.strip_prefix("decoder.")),
    };
    names.extend(inner);
    names
}

/// Returns the name of a text encoder's layer in the encoder's own file, for one in a checkpoint.
fn encoder_layer(layer: &str) -> Option<&str> {
    let rest = layer.strip_prefix("cond_stage_model.");
    let rest = rest
        .or_else(|| layer.strip_prefix("conditioner.embedders.")?.split_once('.').map(|it| it.1));
    if let Some(rest) = rest {
        // OpenCLIP calls its blocks a transformer, too.
        return match rest.strip_prefix("model.") {
            Some(rest) => Some(rest),
            None => rest.strip_prefix("transformer.").or(Some(rest)),
        };
    }
    layer.strip_prefix("text_encoders.")?.split_once(".transformer.").map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_checkpoints_lead_to_those_of_models() {
        for (layer, bare, part) in [
            ("model.diffusion_model.img_in", "img_in", ModelPart::Diffusion),
            ("net.blocks.0.q", "blocks.0.q", ModelPart::Unknown),
            (
                "conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1",
                "text_model.encoder.layers.0.mlp.fc1",
                ModelPart::FirstClip,
            ),
            (
                "conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_fc",
                "transformer.resblocks.0.mlp.c_fc",
                ModelPart::SecondClip,
            ),
            (
                "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q",
                "encoder.block.0.layer.0.SelfAttention.q",
                ModelPart::OtherText,
            ),
            (
                "text_encoders.qwen.transformer.model.layers.0.mlp.up_proj",
                "layers.0.mlp.up_proj",
                ModelPart::OtherText,
            ),
        ] {
            assert_eq!(bare_names(layer).last(), Some(&bare));
            assert_eq!(ModelPart::of(layer, |_| None), part, "{layer}");
        }
        assert!(ModelPart::SecondClip.answers_to(Hint::Text(2), true));
        assert!(!ModelPart::SecondClip.answers_to(Hint::Text(1), false));
        assert!(!ModelPart::Diffusion.answers_to(Hint::Text(0), false));
    }
}
