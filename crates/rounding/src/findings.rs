use std::cell::RefCell;
use std::rc::Rc;

use crate::projection::Projection;
use crate::{Effort, Objective, RoundingError};

/// What a search has found in a layer before it chose a code, its singular vectors or the factor of
/// its H: kept for the next search of the same layer, to other codes.
///
/// Of one weight and its inputs, on one device; [`Linear::remembering`](crate::Linear::remembering)
/// hands it to a search.
#[derive(Default)]
pub struct Findings {
    /// Of the latest search: those of another would take memory that nobody has counted.
    latest: RefCell<Option<(Key, Rc<Projection>)>>,
}

/// What findings depend on, beside the layer and the device.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Key {
    pub(crate) objective: Objective,
    pub(crate) effort: Effort,
    pub(crate) seed: u64,
    /// Columns that are rotated together.
    pub(crate) group: Option<usize>,
    /// Tells inputs from the same inputs about their mean.
    pub(crate) has_mean: bool,
}

impl Findings {
    /// What is known under this key, else what `find` finds.
    pub(crate) fn of(
        &self,
        key: Key,
        find: impl FnOnce() -> Result<Projection, RoundingError>,
    ) -> Result<Rc<Projection>, RoundingError> {
        if let Some((of, known)) = &*self.latest.borrow()
            && *of == key
        {
            return Ok(Rc::clone(known));
        }
        // The former ones make room before new ones are looked for.
        self.latest.replace(None);
        let found = Rc::new(find()?);
        self.latest.replace(Some((key, Rc::clone(&found))));
        Ok(found)
    }
}

impl std::fmt::Debug for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Findings").field("is_empty", &self.latest.borrow().is_none()).finish()
    }
}

#[cfg(test)]
mod tests {
    use roundwise_compute::Device;
    use roundwise_scheme::{Weight, WeightKind};
    use roundwise_testkit::weights;

    use super::*;
    use crate::layer::Layer;

    #[test]
    fn a_layer_is_searched_again_only_for_something_else() {
        let bytes = weights::gaussian(32, 32, 1).bytes();
        let weight = Weight::new(32, 32, WeightKind::F32, &bytes).unwrap();
        let layer = Layer::new(&weight, "fp8".parse().unwrap(), Default::default(), None).unwrap();
        let engine = Device::Cpu.resolve().unwrap();
        let objective = Objective::default();
        let (findings, mut searches) = (Findings::default(), 0);
        let plain = Key { objective, effort: Effort::Fast, seed: 1, group: None, has_mean: false };
        let rotated = Key { group: Some(16), ..plain };
        for (key, expected) in [(plain, 1), (plain, 1), (rotated, 2), (rotated, 2), (plain, 3)] {
            let found = findings.of(key, || {
                searches += 1;
                Projection::of(objective, &layer, None, Effort::Fast, &engine, 1)
            });
            assert!(found.is_ok());
            assert_eq!(searches, expected);
        }
    }
}
