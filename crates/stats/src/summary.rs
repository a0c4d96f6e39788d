use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::{Knowledge, LayerShape};

/// The line that `stats show` prints of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSummary {
    /// Name, rows and columns.
    pub shape: LayerShape,
    /// Inputs that were seen.
    pub samples: u64,
    /// How much is known of H.
    pub knowledge: Knowledge,
    /// Share of H's trace known beyond the diagonal, 0 to 1.
    pub rank_energy: f64,
    /// Whether the mean is known.
    pub has_mean: bool,
    /// How much is known of H_mix.
    pub mixed: Option<Knowledge>,
    /// How much is known of H_w.
    pub weighted: Option<Knowledge>,
    /// How much is known of G.
    pub outputs: Option<Knowledge>,
    /// Whether the mean square of its outputs' gradients is known.
    pub has_gradient: bool,
}

impl LayerSummary {
    /// Returns whether there are fewer samples than columns: H cannot have full rank then, and rounding
    /// against it fits the samples.
    pub fn has_few_samples(&self) -> bool {
        self.samples < self.shape.columns
    }
}

impl Serialize for LayerSummary {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut layer = to.serialize_struct("LayerSummary", 12)?;
        layer.serialize_field("name", &self.shape.module)?;
        layer.serialize_field("rows", &self.shape.rows)?;
        layer.serialize_field("columns", &self.shape.columns)?;
        layer.serialize_field("samples", &self.samples)?;
        layer.serialize_field("second_moment", &self.knowledge.to_string())?;
        layer.serialize_field("rank_energy", &self.rank_energy)?;
        layer.serialize_field("has_mean", &self.has_mean)?;
        layer.serialize_field("has_few_samples", &self.has_few_samples())?;
        let name = |known: Option<Knowledge>| known.map(|known| known.to_string());
        layer.serialize_field("mixed_moment", &name(self.mixed))?;
        layer.serialize_field("weighted_moment", &name(self.weighted))?;
        layer.serialize_field("output_moment", &name(self.outputs))?;
        layer.serialize_field("has_gradient", &self.has_gradient)?;
        layer.end()
    }
}

impl std::fmt::Display for Knowledge {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Diagonal => out.pad("diagonal"),
            Self::Factor { rank } => out.pad(&format!("rank {rank}")),
            Self::Full => out.pad("full"),
        }
    }
}
