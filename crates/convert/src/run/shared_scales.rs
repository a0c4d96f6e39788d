use std::collections::{BTreeMap, BTreeSet};

use roundwise_grid::absmax;

use crate::error::ConvertError;
use crate::plan::{Plan, PlannedTensor};
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::run::job::Job;
use crate::run::pool::map_in_order;
use crate::source::Source;

/// Largest magnitudes of the modules whose layers have one scale together.
///
/// A module is what the names of its layers have in common up to their last dot.
#[derive(Debug, Default)]
pub(crate) struct SharedScales {
    by_module: BTreeMap<String, f32>,
}

impl SharedScales {
    /// Reads the layers that share a scale with one of these weights, in other parts of the model too;
    /// nothing where none does.
    ///
    /// Weights with a NaN or an infinity have no say: the plan that is made without them is
    /// another one.
    pub(crate) fn find<'a>(
        job: &Job,
        source: &Source,
        plan: &Plan,
        weights: impl Iterator<Item = &'a PlannedTensor>,
        watch: &dyn Watch,
    ) -> Result<Self, ConvertError> {
        let mut modules = BTreeMap::<&str, Vec<&PlannedTensor>>::new();
        for (planned, _) in
            plan.quantized_of_all_parts().filter(|(_, scheme)| scheme.shares_scales())
        {
            modules.entry(module_of(planned.layer())).or_default().push(planned);
        }
        let own: BTreeSet<&str> = weights.map(|planned| module_of(planned.layer())).collect();
        modules.retain(|module, layers| layers.len() > 1 && own.contains(module));
        if modules.is_empty() {
            return Ok(Self::default());
        }
        let layers: Vec<_> = modules.into_values().flatten().collect();
        let bytes = layers.iter().map(|planned| planned.header.byte_len()).sum();
        notice(watch, Event::Phase { name: Phase::Scales, tensors: layers.len(), bytes })?;
        let maxima = map_in_order(&layers, job.threads, |planned, _| {
            let weight = source.load(&planned.header)?;
            let view = weight.view();
            let mut values = vec![0.0; view.cols()];
            let rows = (0..view.rows()).map(|row| {
                view.widen_row(row, &mut values);
                absmax(&values)
            });
            let largest =
                rows.fold(0.0, |largest, found| if found > largest { found } else { largest });
            notice(watch, Event::Advanced { bytes: planned.header.byte_len() })?;
            Ok::<_, ConvertError>(largest)
        })?;
        let mut by_module = BTreeMap::<String, f32>::new();
        for (planned, found) in layers.iter().zip(maxima).filter(|(_, found)| found.is_finite()) {
            let largest = by_module.entry(module_of(planned.layer()).to_owned()).or_default();
            *largest = largest.max(found);
        }
        Ok(Self { by_module })
    }

    /// Returns the largest magnitude in the module of a layer; 0 where the layer shares its scale
    /// with none.
    pub(crate) fn absmax_beside(&self, layer: &str) -> f32 {
        self.by_module.get(module_of(layer)).copied().unwrap_or(0.0)
    }
}

fn module_of(layer: &str) -> &str {
    layer.rsplit_once('.').map_or("", |(module, _)| module)
}
