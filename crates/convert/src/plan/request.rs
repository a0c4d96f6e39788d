use std::num::NonZeroUsize;

use crate::plan::decision::NotFinite;
use crate::plan::limits::Limits;
use crate::plan::memory::Workers;
use crate::plan::part::Part;
use crate::recipe::Recipe;
use crate::source::Source;
use crate::source::layer_inputs::LayerInputs;

/// Everything that a plan follows from.
#[derive(Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The input.
    pub source: &'a Source,
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Statistics of the layers' inputs, where the recipe looks at them.
    pub statistics: Option<&'a LayerInputs>,
    /// The threads and devices that work on tensors at once.
    pub workers: Workers,
    /// Limits of files and memory.
    pub limits: Limits,
    /// The part of the model that is made, if not all of it.
    pub part: Option<Part>,
    /// Weights that cannot be converted, because a NaN or an infinity was found in them.
    pub not_finite: &'a NotFinite,
}

static ALL_FINITE: NotFinite = NotFinite::new();

impl<'a> PlanRequest<'a> {
    /// Asks for the whole model in one file, worked on by one thread without a limit of memory.
    pub fn new(source: &'a Source, recipe: &'a Recipe) -> Self {
        Self {
            source,
            recipe,
            statistics: None,
            workers: NonZeroUsize::MIN.into(),
            limits: Limits::default(),
            part: None,
            not_finite: &ALL_FINITE,
        }
    }
}
