//! Reports: what happened to every tensor.

pub(crate) mod bank_rounding;
pub(crate) mod layer_rounding;
pub(crate) mod losses;
pub(crate) mod named;
pub(crate) mod prediction;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod rounding;
pub(crate) mod stop_flag;
pub(crate) mod tensor_report;
pub(crate) mod watch;

pub use self::layer_rounding::LayerRounding;
pub use self::losses::has_lost_all;
pub use self::prediction::Prediction;
pub use self::report::Report;
pub use self::rounding::{MomentCount, RoundingTotals};
pub use self::stop_flag::StopFlag;
pub use self::tensor_report::TensorReport;
pub use self::watch::{Event, Phase, Unwatched, Watch};
