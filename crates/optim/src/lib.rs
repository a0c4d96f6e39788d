//! One descent loop: optimizers, learning-rate schedules, stop rules.
//!
//! [`descend`] walks a matrix of numbers downhill. Its five parts are replaceable: the
//! [`Objective`], the [`Optimizer`], the [`Schedule`], the [`StopRules`] and the callback that sees
//! every step. Nothing here knows what the numbers mean. Variables, gradients and states are host
//! slices; every update is one fused, vectorised pass with the same bits for any number of threads.
//!
//! ```
//! use roundwise_compute::Matrix;
//! use roundwise_optim::{Descent, Objective, Optimizer, descend};
//! use std::ops::ControlFlow;
//!
//! /// The squared distance from 3.
//! struct Distance;
//!
//! impl Objective for Distance {
//!     fn evaluate(&mut self, variable: &Matrix, gradient: &mut Matrix) -> f64 {
//!         let distance = variable.at(0, 0) - 3.0;
//!         gradient.values_mut()[0] = 2.0 * distance;
//!         f64::from(distance * distance)
//!     }
//! }
//!
//! let adam = Optimizer::named("adam").expect("a known name");
//! let descent = Descent { learning_rate: 0.1, ..Descent::new(adam) };
//! let outcome =
//!     descend(&mut Distance, Matrix::zeros(1, 1), &descent, |_step| ControlFlow::Continue(()))?;
//! assert!((outcome.best.at(0, 0) - 3.0).abs() < 1e-3);
//! # Ok::<(), roundwise_optim::OptimError>(())
//! ```

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
