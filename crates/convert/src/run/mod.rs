//! Runs: a plan becomes a file and a report.

pub(crate) mod bands;
pub(crate) mod bias;
pub(crate) mod budget;
pub(crate) mod buffers;
pub(crate) mod check_output;
pub(crate) mod convert;
pub(crate) mod error_lora;
pub(crate) mod input;
pub(crate) mod job;
pub(crate) mod lazy;
pub(crate) mod merge;
pub(crate) mod model_config;
pub(crate) mod not_finite;
pub(crate) mod output;
pub(crate) mod places;
pub(crate) mod pool;
pub(crate) mod resume;
pub(crate) mod round;
pub(crate) mod sensitivity;
pub(crate) mod shared_scales;
pub(crate) mod tensor;
pub(crate) mod trial;
pub(crate) mod try_weights;
pub(crate) mod unfinished;
pub(crate) mod verify_output;

pub use self::budget::{BudgetRequest, Budgeted, budget};
pub use self::convert::{Prepared, convert, convert_together};
pub use self::error_lora::{ErrorLora, error_lora_path, extract_error_lora};
pub use self::job::{Job, default_output};
pub use self::merge::{Merged, merge};
pub use self::places::{Target, check_apart};
pub use self::pool::limit_search_threads;
pub use self::sensitivity::{SensitivityRequest, default_sensitivity, sensitivity};
pub use self::trial::{Trial, TriedLayer, try_job};
pub use self::try_weights::try_weights;
pub use self::unfinished::{UnfinishedRun, unfinished};
