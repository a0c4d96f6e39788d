//! The factor of an adapter's change, and where it was taken from.

use std::fmt;

/// Where a factor was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ScaleSource {
    /// The module's own `alpha`.
    Tensor,
    ConfigFile,
    DiffusersMetadata,
    KohyaMetadata,
    /// Numbers in a file of PyTorch that are no tensors.
    Numbers,
    /// Nothing tells alpha, which counts as the rank.
    Assumed,
    /// The algorithm has none.
    None,
}

/// `alpha / divisor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) alpha: f32,
    /// The rank, or its square root.
    pub(super) divisor: f32,
    pub(super) source: ScaleSource,
}

impl Scale {
    /// The change as it is stored.
    pub(super) const ONE: Self = Self { alpha: 1.0, divisor: 1.0, source: ScaleSource::None };

    pub(super) fn factor(self, strength: f32) -> f32 {
        strength * self.alpha / self.divisor
    }
}

impl fmt::Display for ScaleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScaleSource::Tensor => "its alpha tensors",
            ScaleSource::ConfigFile => "adapter_config.json",
            ScaleSource::DiffusersMetadata => "`lora_adapter_metadata` in its header",
            ScaleSource::KohyaMetadata => "`ss_network_alpha` in its header",
            ScaleSource::Numbers => "numbers beside its tensors",
            ScaleSource::Assumed => "no alpha is told: assumed to be the rank",
            ScaleSource::None => "stored as they are",
        })
    }
}
