use std::cell::RefCell;
use std::rc::Rc;

use roundwise_compute::Engine;

use crate::projection::Projection;
use crate::{Effort, Objective, RoundingError};

/// A cache that searches of one layer share: its singular vectors, or the factor of its H.
///
/// It belongs to one weight and its inputs. A search computes them before it chooses
/// the first code; [`Linear::with_cache`](crate::Linear::with_cache) hands them to the next search of
/// the layer, for other codes.
#[derive(Default)]
pub struct SearchCache {
    /// Those of the latest search. Keeping more would take memory that no plan has counted.
    latest: RefCell<Option<(Key, Rc<Projection>)>>,
}

/// All that an entry depends on, beside the layer and the device.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Key {
    pub(crate) objective: Objective,
    pub(crate) effort: Effort,
    pub(crate) seed: u64,
    /// Columns that are rotated together.
    pub(crate) group: Option<usize>,
    /// First and end of the rows whose inputs are looked at.
    pub(crate) rows: [usize; 2],
    /// Whether inputs have their mean, as opposed to inputs about their mean.
    pub(crate) has_mean: bool,
}

impl SearchCache {
    /// Returns the entry of a key with its matrices on `engine`, computed by `find` unless it is there.
    pub(crate) fn get_or_find(
        &self,
        key: Key,
        engine: &Engine,
        find: impl FnOnce() -> Result<Projection, RoundingError>,
    ) -> Result<Rc<Projection>, RoundingError> {
        if let Some((stored, known)) = &*self.latest.borrow()
            && *stored == key
            && engine.holds(&known.right)
        {
            return Ok(Rc::clone(known));
        }
        // The former entry makes room before another one is computed.
        self.latest.replace(None);
        let found = Rc::new(find()?);
        // Only now: a search that failed must not leave an entry behind.
        self.latest.replace(Some((key, Rc::clone(&found))));
        Ok(found)
    }
}

impl std::fmt::Debug for SearchCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchCache").field("is_empty", &self.latest.borrow().is_none()).finish()
    }
}

#[cfg(test)]
mod tests {
    use roundwise_compute::Device;
    use roundwise_scheme::{FloatDtype, Weight};
    use roundwise_testkit::weights;

    use super::*;
    use crate::layer::Layer;

    #[test]
    fn a_layer_is_searched_again_only_for_something_else() {
        let bytes = weights::gaussian(32, 32, 1).bytes();
        let weight = Weight::new(32, 32, FloatDtype::F32, &bytes).unwrap();
        let layer = Layer::new(&weight, "fp8".parse().unwrap(), Default::default(), None).unwrap();
        let engine = Device::Cpu.resolve().unwrap();
        let objective = Objective::default();
        let (cache, mut searches) = (SearchCache::default(), 0);
        let plain = Key {
            objective,
            effort: Effort::Fast,
            seed: 1,
            group: None,
            rows: [0, 32],
            has_mean: false,
        };
        let rotated = Key { group: Some(16), ..plain };
        // Where a device fails, the search begins again on another.
        let other = Device::NdArray.resolve().unwrap();
        for (key, engine, expected) in [
            (plain, &engine, 1),
            (plain, &engine, 1),
            (rotated, &engine, 2),
            (rotated, &engine, 2),
            (plain, &engine, 3),
            (plain, &other, 4),
        ] {
            let found = cache.get_or_find(key, engine, || {
                searches += 1;
                Projection::of(objective, &layer, None, Effort::Fast, engine, 1)
            });
            assert!(found.is_ok());
            assert_eq!(searches, expected);
        }
    }
}
