//! The input: its tensors, its layers in codes, adapters and statistics that go with it.

pub(crate) mod adapter;
pub(crate) mod consumer;
pub(crate) mod experts;
pub(crate) mod family;
pub(crate) mod find_tensor;
pub(crate) mod finished;
pub(crate) mod hash;
pub(crate) mod incomplete;
pub(crate) mod inner_wrappers;
pub(crate) mod layer_inputs;
pub(crate) mod load;
mod missing_blocks;
pub(crate) mod model_config;
mod model_sizes;
pub(crate) mod numbers;
pub(crate) mod source;
pub(crate) mod subject;
pub(crate) mod text_part;
pub(crate) mod translated;
mod transposed;

pub use self::consumer::answer::Opens;
pub use self::consumer::{Consumer, SchemeConsumer};
pub use self::hash::FileHash;
pub use self::layer_inputs::{LayerInputs, StatisticsFile, UsedMoment, inputs_of};
pub use self::load::LoadedWeight;
pub use self::model_config::for_input;
pub use self::source::Source;
pub use self::subject::{ExpertBanks, StoredCodes, Subject};
