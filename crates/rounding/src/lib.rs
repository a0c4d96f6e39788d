//! Learned rounding, scored on stored codes.
//!
//! [`round`] chooses the codes of one matrix. An [`Objective`] says what is minimised, a [`Solver`]
//! how; the guard stores nearest codes where the solver did not beat them. Whatever is reported is
//! computed from the stored codes, decoded with the stored scales.
//!
//! ```
//! use roundwise_compute::Device;
//! use roundwise_rounding::{Options, round};
//! use roundwise_scheme::{ScaleRule, Weight, WeightKind};
//!
//! let values = (0..64 * 48).map(|i| ((i * 37 % 101) as f32 - 50.0) * (1.0 + (i % 48) as f32));
//! let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
//! let weight = Weight::new(64, 48, WeightKind::F32, &bytes)?;
//! let engine = Device::Cpu.resolve()?;
//! let options = Options::default();
//! let rounded = round(&weight, "fp8".parse()?, ScaleRule::Absmax, &options, &engine, 7, &mut ())?;
//! assert!(rounded.report.stored.objective <= rounded.report.nearest.objective);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod anneal;
mod cells;
mod error;
mod feedback;
mod guard;
mod kernel;
mod layer;
mod options;
mod projection;
mod report;
mod round;
mod solve;
mod stochastic;
mod watch;

pub use error::RoundingError;
pub use options::{Anneal, Effort, Feedback, Limit, Objective, Options, Rank, Solver};
pub use report::{RoundingReport, Score};
pub use round::{Rounded, round};
pub use watch::{Progress, Watch};
