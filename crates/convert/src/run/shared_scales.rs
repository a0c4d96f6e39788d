use std::collections::{BTreeMap, BTreeSet};

use roundwise_grid::absmax;

use crate::error::ConvertError;
use crate::plan::{Plan, PlannedTensor};
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::run::pool::map_in_order;
use crate::source::Source;

/// Largest magnitudes of the weights that have one scale, or the factor of all scales, together.
#[derive(Debug, Default)]
pub(crate) struct SharedScales {
    by_layer: BTreeMap<String, f32>,
}

impl SharedScales {
    /// Reads the layers that share a scale with one of these weights, in other parts of the model too;
    /// nothing where none does.
    ///
    /// Weights with a NaN or an infinity have no say: the plan that is made without them is another one.
    pub(crate) fn find<'a>(
        source: &Source,
        plan: &Plan,
        weights: impl Iterator<Item = &'a PlannedTensor>,
        watch: &dyn Watch,
    ) -> Result<Self, ConvertError> {
        let mut sharing = BTreeMap::<String, Vec<&PlannedTensor>>::new();
        for (planned, scheme) in plan.quantized_of_all_parts() {
            if let Some(group) = plan.sharing(planned.layer(), scheme) {
                sharing.entry(group).or_default().push(planned);
            }
        }
        // Only groups of these weights count.
        let own = weights.filter_map(|planned| plan.sharing(planned.layer(), planned.scheme()?));
        let own: BTreeSet<String> = own.collect();
        // A layer that is alone in its group shares with none, and its own scale is found when it
        // is rounded.
        sharing.retain(|group, layers| layers.len() > 1 && own.contains(group));
        if sharing.is_empty() {
            return Ok(Self::default());
        }
        let groups = sharing.iter();
        let layers: Vec<(&str, &PlannedTensor)> = groups
            .flat_map(|(group, layers)| layers.iter().map(|layer| (group.as_str(), *layer)))
            .collect();
        let bytes = layers.iter().map(|(_, planned)| planned.header.byte_len()).sum();
        notice(watch, Event::Phase { name: Phase::Scales, tensors: layers.len(), bytes })?;
        let maxima = map_in_order(&layers, plan.memory.threads, |(_, planned), _| {
            let weight = source.load(&planned.header)?;
            let view = weight.view();
            let mut values = vec![0.0; view.cols()];
            let rows = (0..view.rows()).map(|row| {
                view.widen_row(row, &mut values);
                absmax(&values)
            });
            // In the total order a positive NaN comes after all numbers; `f32::max` would pass over it.
            let largest = rows.max_by(f32::total_cmp).unwrap_or(0.0);
            notice(watch, Event::Advanced { bytes: planned.header.byte_len() })?;
            Ok::<_, ConvertError>(largest)
        })?;
        let mut of_groups = BTreeMap::<&str, f32>::new();
        for ((group, _), found) in layers.iter().zip(maxima).filter(|(_, it)| it.is_finite()) {
            let largest = of_groups.entry(group).or_default();
            *largest = largest.max(found);
        }
        let of_layer = |(group, planned): &(&str, &PlannedTensor)| {
            Some((planned.layer().to_owned(), *of_groups.get(group)?))
        };
        Ok(Self { by_layer: layers.iter().filter_map(of_layer).collect() })
    }

    /// Returns the largest magnitude of the weights that share something of their scales with a
    /// layer's, its own among them; 0 where it shares with none.
    pub(crate) fn absmax_beside(&self, layer: &str) -> f32 {
        self.by_layer.get(layer).copied().unwrap_or(0.0)
    }
}
