//! Optimizers, rates and stops as the published systems start them.

use roundwise_optim::optimizer::{
    Adam, GoodDog, Original, Prodigy, RAdam, RmsProp, Sgd, WeightDecay,
};
use roundwise_optim::schedule::{Adaptive, Cosine, Doubling, Plateau};
use roundwise_optim::{Descent, Optimizer, Schedule, StopRules};

use crate::{AdaRound, CodeDescent, Loss};

impl CodeDescent {
    /// Returns convert_to_quant's settings for an optimizer: Prodigy with 4000 iterations at rate 1
    /// and the schedule `plateau`; every other with 500 at rate 0.01, `original` with the schedule
    /// `adaptive`, the others with `plateau`. SGD, which it does not have, doubles and halves its
    /// rate.
    #[must_use]
    pub fn published(optimizer: Optimizer) -> Self {
        let few = StopRules { iterations: 500, loss: 1e-8, learning_rate: 1e-8, stall_steps: 500 };
        let many =
            StopRules { iterations: 4000, loss: 5e-9, learning_rate: 1.01e-8, stall_steps: 2000 };
        let plateau = Plateau::default();
        let (schedule, learning_rate, stop) = match optimizer {
            Optimizer::Prodigy(_) => {
                (Schedule::Plateau(Plateau { warm_up_steps: 50, ..plateau }), 1.0, many)
            }
            Optimizer::Original(_) => (Schedule::Adaptive(Adaptive::default()), 1e-2, few),
            // Its steps are as long as the gradient, whose size is not known beforehand.
            Optimizer::Sgd(_) => (Schedule::Doubling(Doubling::default()), 1e-2, few),
            Optimizer::Adam(_)
            | Optimizer::RAdam(_)
            | Optimizer::RmsProp(_)
            | Optimizer::GoodDog(_) => (Schedule::Plateau(plateau), 1e-2, few),
        };
        Self { loss: Loss::Root, descent: Descent { optimizer, schedule, learning_rate, stop } }
    }

    /// Returns the settings of TPEC-Quant's fast form: plain steps whose rate doubles after a
    /// success and halves after a failure.
    #[must_use]
    pub fn tpec_fast() -> Self {
        let stop = StopRules { iterations: 500, loss: 1e-8, learning_rate: 0.0, stall_steps: 40 };
        let optimizer = Optimizer::Sgd(Sgd::default());
        let schedule = Schedule::Doubling(Doubling::default());
        Self {
            loss: Loss::Half,
            descent: Descent { optimizer, schedule, learning_rate: 1.0, stop },
        }
    }
}

impl AdaRound {
    /// Returns the settings of the published graphical tool: RMSprop, 512 iterations at rate 0.01.
    #[must_use]
    pub fn published() -> Self {
        // Only the number of iterations ends it: the published stop, at a regularizer below 1e-8, is
        // left out.
        let stop = StopRules { iterations: 512, loss: 0.0, learning_rate: 0.0, stall_steps: 0 };
        let optimizer = Optimizer::RmsProp(RmsProp::default());
        let descent =
            Descent { optimizer, schedule: Schedule::Constant, learning_rate: 1e-2, stop };
        Self { regularizer: 0.01, first_beta: 20.0, last_beta: 2.0, batch: None, descent }
    }

    /// Returns the settings of the published fast variant: AdamW along a cosine, 200 iterations
    /// from rate 0.03, a regularizer of 0.015, patience 30.
    #[must_use]
    pub fn fast() -> Self {
        let stop = StopRules { iterations: 200, loss: 1e-8, learning_rate: 0.0, stall_steps: 30 };
        let optimizer = Self::optimizer(Optimizer::Adam(Adam::decoupled()));
        let schedule = Schedule::Cosine(Cosine::default());
        let descent = Descent { optimizer, schedule, learning_rate: 3e-2, stop };
        Self { regularizer: 0.015, descent, ..Self::published() }
    }

    /// Returns the settings with another optimizer. Prodigy starts at rate 1 and finds its own.
    #[must_use]
    pub fn with(mut self, optimizer: Optimizer) -> Self {
        self.descent.optimizer = Self::optimizer(optimizer);
        if let Optimizer::Prodigy(Prodigy { .. }) = optimizer {
            self.descent.learning_rate = 1.0;
        }
        self
    }

    /// Returns an optimizer as logits need it: with hardly any decay, since logits at 0 are choices
    /// that are not made; SGD with momentum.
    fn optimizer(optimizer: Optimizer) -> Optimizer {
        match optimizer {
            Optimizer::Adam(Adam { weight_decay: WeightDecay::Decoupled(_), .. }) => {
                let weight_decay = WeightDecay::Decoupled(1e-6);
                Optimizer::Adam(Adam { weight_decay, ..Adam::decoupled() })
            }
            Optimizer::Sgd(sgd) => Optimizer::Sgd(Sgd { momentum: 0.9, ..sgd }),
            Optimizer::Original(Original { .. })
            | Optimizer::Adam(_)
            | Optimizer::RAdam(RAdam { .. })
            | Optimizer::RmsProp(_)
            | Optimizer::GoodDog(GoodDog { .. })
            | Optimizer::Prodigy(_) => optimizer,
        }
    }
}

impl Default for AdaRound {
    fn default() -> Self {
        Self::published()
    }
}
