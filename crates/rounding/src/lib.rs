//! Learned rounding, scored on stored codes.
//!
//! [`round`] chooses the codes of one matrix. An [`Objective`] says what is minimised, a [`Solver`]
//! how; the guard stores nearest codes where the solver did not beat them. Whatever is reported is
//! computed from the stored codes, decoded with the stored scales. [`METHODS`] are the pairs that
//! have a name, with their published defaults; [`Options::of_method`] makes options of one.
//!
//! ```
//! use roundwise_compute::Device;
//! use roundwise_rounding::{MethodOptions, Options, round};
//! use roundwise_scheme::{ScaleRule, Weight, FloatDtype};
//!
//! let values = (0..64 * 48).map(|i| ((i * 37 % 101) as f32 - 50.0) * (1.0 + (i % 48) as f32));
//! let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
//! let weight = Weight::new(64, 48, FloatDtype::F32, &bytes)?;
//! let engine = Device::Cpu.resolve()?;
//! let options = Options::of_method("principal", &MethodOptions::default())?;
//! let rounded = round(&weight, "fp8".parse()?, ScaleRule::Absmax, &options, &engine, 7, &mut ())?;
//! assert!(rounded.report.stored.objective <= rounded.report.nearest.objective);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adaround;
mod anneal;
mod attempt;
mod bias;
mod cells;
mod centred;
mod code_descent;
mod complaints;
#[cfg(test)]
#[path = "../tests/unit/definitions.rs"]
mod definitions;
mod effort;
mod error;
mod feedback;
mod greedy;
mod guard;
mod inputs;
mod iterate;
mod kernel;
mod layer;
mod limit;
mod linear;
mod losses;
mod method;
mod method_error;
mod method_options;
mod method_settings;
mod neighbours;
mod objective;
mod options;
mod output_error;
mod outputs;
mod polish;
mod projection;
mod published;
mod rank;
mod report;
mod resolve;
mod round;
mod search_cache;
mod section;
mod setting;
mod sides;
mod smooth;
mod soft_choice;
mod solve;
mod solver;
mod stochastic;
mod watch;

pub use bias::{BiasCorrection, BiasSign};
pub use effort::Effort;
pub use error::RoundingError;
pub use guard::LARGEST_ERROR_RATIO;
pub use inputs::{Inputs, SecondMoment};
pub use limit::Limit;
pub use linear::{Linear, RowInputs};
pub use method::{METHODS, Method};
pub use method_error::{Complaint, MethodError, Problem, WhyNot};
pub use method_options::MethodOptions;
pub use method_settings::SettingOfMethod;
pub use objective::Objective;
pub use options::Options;
pub use output_error::{
    output_errors, relative_output_error, squared_output_errors, squared_outputs,
};
pub use outputs::OutputMoment;
pub use rank::Rank;
pub use report::{RoundingReport, Score};
pub use round::{Rounded, round};
pub use roundwise_optim::{Optimizer, Schedule};
pub use search_cache::SearchCache;
pub use setting::{MethodSetting, SettingRange, SettingValue};
pub use sides::Sides;
pub use solver::{AdaRound, Anneal, CodeDescent, Feedback, Greedy, Loss, Solver};
pub use watch::{Progress, Watch};
