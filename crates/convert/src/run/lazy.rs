use std::cell::OnceCell;

use roundwise_compute::{Engine, Engines, Lease};
use roundwise_rounding::{Linear, SearchCache};
use roundwise_scheme::Weight;
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::plan::PlannedTensor;
use crate::report::Watch;
use crate::run::buffers::Buffers;
use crate::run::input::Input;
use crate::source::LoadedWeight;
use crate::source::layer_inputs::KnownInputs;

/// A weight of the input, shared by all outputs: its numbers, the statistics of its inputs and its
/// directions are each computed once, and only on demand.
pub(crate) struct Lazy<'a> {
    input: &'a Input,
    /// Told how searches in the weight go.
    pub(crate) watch: &'a dyn Watch,
    weight: OnceCell<LoadedWeight>,
    inputs: OnceCell<Option<KnownInputs>>,
    /// Of the device that the cache lies on; all searches of one weight use one device.
    lease: OnceCell<Lease<'a>>,
    pub(crate) search_cache: SearchCache,
}

impl<'a> Lazy<'a> {
    pub(crate) fn new(input: &'a Input, watch: &'a dyn Watch) -> Self {
        Self {
            input,
            watch,
            weight: OnceCell::new(),
            inputs: OnceCell::new(),
            lease: OnceCell::new(),
            search_cache: SearchCache::default(),
        }
    }

    /// Takes a weight that was read, such as one expert of a bank.
    pub(crate) fn of(input: &'a Input, watch: &'a dyn Watch, weight: LoadedWeight) -> Self {
        Self { weight: OnceCell::from(weight), ..Self::new(input, watch) }
    }

    /// Returns the weight as numbers.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn weight(
        &self,
        header: &TensorHeader,
        buffers: &mut Buffers,
    ) -> Result<&LoadedWeight, ConvertError> {
        // `OnceCell::get_or_try_init` is not stable yet.
        if self.weight.get().is_none() {
            let _ = self.weight.set(self.input.source.load_into(header, buffers.take())?);
        }
        Ok(self.weight.get().expect("it was just set"))
    }

    /// Returns what is known of the inputs of the weight's layer, if anything.
    ///
    /// # Errors
    /// When the statistics cannot be read.
    pub(crate) fn inputs(
        &self,
        planned: &PlannedTensor,
    ) -> Result<Option<&KnownInputs>, ConvertError> {
        if self.inputs.get().is_none() {
            let _ = self.inputs.set(self.input.inputs_of(planned.layer())?);
        }
        Ok(self.inputs.get().expect("it was just set").as_ref())
    }

    /// Returns the weight's layer as it is rounded.
    ///
    /// - `view`: of the weight
    ///
    /// # Errors
    /// When the statistics cannot be read.
    pub(crate) fn layer<'b>(
        &'b self,
        planned: &PlannedTensor,
        view: &'b Weight<'b>,
    ) -> Result<Linear<'b>, ConvertError> {
        let known = self.inputs(planned)?;
        let row_inputs = known.map_or(&[][..], |known| &known.row_inputs);
        let layer = Linear::from(view).with_inputs(known.map(|known| &known.inputs));
        let layer = layer.with_outputs(known.and_then(|known| known.outputs.as_ref()));
        Ok(layer.with_row_inputs(row_inputs).with_cache(&self.search_cache))
    }

    /// Returns what is known of the inputs, where they were asked for.
    pub(crate) fn known_inputs(&self) -> Option<&KnownInputs> {
        self.inputs.get()?.as_ref()
    }

    /// Returns the device that searches in the weight are computed on.
    pub(crate) fn engine(&self, engines: &'a Engines) -> &Engine {
        self.lease.get_or_init(|| engines.lease()).engine()
    }

    /// Gives the memory of the weight back.
    pub(crate) fn recycle(self, buffers: &mut Buffers) {
        if let Some(weight) = self.weight.into_inner() {
            buffers.keep(weight.into_bytes());
        }
    }
}
