use std::fmt;
use std::str::FromStr;

use roundwise_scheme::is_meant;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// Denoises images, sound, video or shapes.
    DiffusionModel,
    /// Reads text for a diffusion model, or turns sentences into vectors.
    TextEncoder,
    /// Writes text.
    LanguageModel,
    /// Turns latents into pixels or sound, and back.
    Vae,
    /// Steers a diffusion model by a picture.
    ControlNet,
    /// Stands beside a diffusion model in another way: IP-Adapter, encoders of pictures and sound,
    /// motion modules, GLIGEN, Redux.
    SideModel,
    /// Changes the weights of a model.
    Adapter(AdapterKind),
    /// Vectors that stand for words.
    TextualInversion,
    /// Makes pictures larger.
    Upscaler,
    /// A diffusion model with its text encoders or its VAE.
    Checkpoint,
    /// A model with the state of its optimizer.
    TrainingCheckpoint,
    /// Statistics of a model's inputs.
    Statistics,
    /// Cannot be told.
    Unknown,
}

/// How an adapter changes a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdapterKind {
    /// Adds a product of two thin matrices.
    LoRa,
    /// Adds a Hadamard product of two such products.
    LoHa,
    /// Adds a Kronecker product.
    LoKr,
    /// A LoRA that also scales rows or columns.
    DoRa,
    /// Rotates blocks.
    Oft,
    /// Rotates blocks several times.
    Boft,
    /// Adds and multiplies by products of thin matrices.
    GLoRa,
    /// Adds a whole matrix.
    Diff,
    /// Changes it in another way.
    Other,
}

/// No kind has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown `{name}`{}\n  known: {}", is_meant(.name, FileKind::NAMES.map(|it| it.0)), FileKind::NAMES.map(|it| it.0).join(", "))]
pub struct UnknownKind {
    /// The unknown name.
    pub name: String,
}

impl FileKind {
    /// Every kind by its name.
    pub const NAMES: [(&str, Self); 21] = [
        ("diffusion-model", Self::DiffusionModel),
        ("text-encoder", Self::TextEncoder),
        ("language-model", Self::LanguageModel),
        ("vae", Self::Vae),
        ("controlnet", Self::ControlNet),
        ("side-model", Self::SideModel),
        ("lora", Self::Adapter(AdapterKind::LoRa)),
        ("loha", Self::Adapter(AdapterKind::LoHa)),
        ("lokr", Self::Adapter(AdapterKind::LoKr)),
        ("dora", Self::Adapter(AdapterKind::DoRa)),
        ("oft", Self::Adapter(AdapterKind::Oft)),
        ("boft", Self::Adapter(AdapterKind::Boft)),
        ("glora", Self::Adapter(AdapterKind::GLoRa)),
        ("diff", Self::Adapter(AdapterKind::Diff)),
        ("adapter", Self::Adapter(AdapterKind::Other)),
        ("textual-inversion", Self::TextualInversion),
        ("upscaler", Self::Upscaler),
        ("checkpoint", Self::Checkpoint),
        ("training-checkpoint", Self::TrainingCheckpoint),
        ("statistics", Self::Statistics),
        ("unknown", Self::Unknown),
    ];
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(_, kind)| kind == self);
        f.pad(named.map_or("unknown", |(name, _)| name))
    }
}

impl FromStr for FileKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let named = Self::NAMES.iter().find(|(known, _)| *known == name);
        named.map(|(_, kind)| *kind).ok_or_else(|| UnknownKind { name: name.to_owned() })
    }
}

impl Serialize for FileKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileKind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_the_name_that_it_has() {
        for (name, kind) in FileKind::NAMES {
            assert_eq!((name.parse(), kind.to_string().as_str()), (Ok(kind), name));
        }
        assert!(
            "LoRA".parse::<FileKind>().unwrap_err().to_string().contains("known: diffusion-model")
        );
    }
}
