//! Reports: what happened to every tensor.

pub(crate) mod named;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod rounding;
pub(crate) mod stop_flag;
pub(crate) mod watch;

pub use self::report::{Report, TensorReport};
pub use self::rounding::{LayerRounding, RoundingTotals};
pub use self::stop_flag::StopFlag;
pub use self::watch::{Event, Phase, Unwatched, Watch};
