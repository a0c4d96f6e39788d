//! One descent loop: optimizers, learning-rate schedules, stop rules
//!
//! [`descend`] walks a matrix of numbers downhill. Its five parts are replaceable: the
//! [`Objective`], the [`Optimizer`], the [`Schedule`], the [`StopRules`] and the callback that sees
//! every step. Nothing here knows what the numbers mean. Variables, gradients and states are host
//! slices; every update is one fused, vectorised pass with the same bits for any number of threads.

mod descend;
mod error;
pub mod optimizer;
pub mod schedule;
mod stop;

pub use descend::{Descent, Objective, Outcome, Step, descend};
pub use error::OptimError;
pub use optimizer::Optimizer;
pub use schedule::Schedule;
pub use stop::{StopReason, StopRules};
