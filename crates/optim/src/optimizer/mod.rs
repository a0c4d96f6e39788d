//! Optimizers: rules by which a gradient becomes a step.

mod adam;
mod good_dog;
mod original;
mod prodigy;
mod radam;
mod rms_prop;
mod sgd;

pub use adam::{Adam, WeightDecay};
pub use good_dog::GoodDog;
pub use original::Original;
pub use prodigy::Prodigy;
pub use radam::RAdam;
pub use rms_prop::RmsProp;
pub use sgd::Sgd;

use roundwise_compute::Matrix;

use crate::OptimError;

/// An optimizer and its options, which document formula, defaults and source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Steps along the gradient, brought to length 1.
    Original(Original),
    /// Steps along the gradient, with or without momentum.
    Sgd(Sgd),
    /// Adam, or AdamW by its weight decay: running means of the gradient and of its square.
    Adam(Adam),
    /// RAdam: Adam without the noise of its first steps.
    RAdam(RAdam),
    /// RMSprop: the gradient divided by its running size.
    RmsProp(RmsProp),
    /// GOODDOG: signs of the gradient, sized by arctangents.
    GoodDog(GoodDog),
    /// Prodigy: Adam that estimates its own rate.
    Prodigy(Prodigy),
}

impl Optimizer {
    /// The names of [`named`](Self::named).
    pub const NAMES: [&str; 8] =
        ["original", "sgd", "adam", "adamw", "radam", "rmsprop", "gooddog", "prodigy"];

    /// Returns the optimizer of a name, with its default options.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "original" => Some(Self::Original(Original::default())),
            "sgd" => Some(Self::Sgd(Sgd::default())),
            "adam" => Some(Self::Adam(Adam::default())),
            "adamw" => Some(Self::Adam(Adam::decoupled())),
            "radam" => Some(Self::RAdam(RAdam::default())),
            "rmsprop" => Some(Self::RmsProp(RmsProp::default())),
            "gooddog" => Some(Self::GoodDog(GoodDog::default())),
            "prodigy" => Some(Self::Prodigy(Prodigy::default())),
            _ => None,
        }
    }

    /// Returns the name that [`named`](Self::named) knows it by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Original(_) => "original",
            Self::Sgd(_) => "sgd",
            Self::Adam(Adam { weight_decay: WeightDecay::Gradient(_), .. }) => "adam",
            Self::Adam(Adam { weight_decay: WeightDecay::Decoupled(_), .. }) => "adamw",
            Self::RAdam(_) => "radam",
            Self::RmsProp(_) => "rmsprop",
            Self::GoodDog(_) => "gooddog",
            Self::Prodigy(_) => "prodigy",
        }
    }

    /// Returns the rate that this optimizer is usually started with.
    #[must_use]
    pub fn usual_learning_rate(&self) -> f64 {
        match self {
            Self::Original(_) | Self::RmsProp(_) => 1e-2,
            Self::Sgd(_) | Self::Adam(_) | Self::RAdam(_) => 1e-3,
            Self::GoodDog(_) => 1e-4,
            Self::Prodigy(_) => 1.0,
        }
    }

    /// Makes the states of a descent from `start`.
    ///
    /// # Errors
    /// [`OptimError`] when an option is outside its range.
    pub fn start(&self, start: &Matrix) -> Result<Box<dyn Update>, OptimError> {
        match self {
            Self::Original(options) => options.start(),
            Self::Sgd(options) => options.start(start),
            Self::Adam(options) => options.start(start),
            Self::RAdam(options) => options.start(start),
            Self::RmsProp(options) => options.start(start),
            Self::GoodDog(options) => options.start(start),
            Self::Prodigy(options) => options.start(start),
        }
    }
}

/// The states of an optimizer that moves one variable.
pub trait Update: Send {
    /// Moves `variable` by one step against `gradient` (its shape never changes).
    fn step(&mut self, variable: &mut Matrix, gradient: &Matrix, learning_rate: f64);
}

/// Makes zeros for the state of every value.
fn zeros(like: &Matrix) -> Vec<f32> {
    vec![0.0; like.values().len()]
}
