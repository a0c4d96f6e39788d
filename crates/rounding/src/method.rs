use crate::{
    AdaRound, BiasCorrection, CodeDescent, Greedy, Limit, MethodError, MethodOptions, Objective,
    Options, Rank, Solver, resolve,
};

/// A way to round that has a name: an objective, a solver and their defaults.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Name on the command line and in a recipe.
    pub name: &'static str,
    /// A description in one line.
    pub summary: &'static str,
    /// Returns its default options.
    defaults: fn() -> Options,
    /// Random rows of its bias correction, where one is asked for: 1024 as TPEC-Quant draws, else 3072 as
    /// convert_to_quant and TPEC-Quant's fast form do.
    pub(crate) bias_rows: usize,
}

/// Every method.
pub const METHODS: &[Method] = &[
    Method {
        name: "nearest",
        summary: "the nearest code of every weight",
        defaults: || fixed(Objective::Weight, Solver::Nearest),
        bias_rows: 3072,
    },
    Method {
        name: "stochastic",
        summary: "up or down by chance, right on average; for comparison",
        defaults: || fixed(Objective::None, Solver::Stochastic),
        bias_rows: 3072,
    },
    Method {
        name: "principal",
        summary: "least error between leading singular vectors, as convert_to_quant",
        defaults: || searched(Objective::Principal(PUBLISHED_RANK)),
        bias_rows: 3072,
    },
    Method {
        name: "principal-input",
        summary: "least error of outputs for inputs along leading singular vectors",
        defaults: || searched(Objective::PrincipalInput(PUBLISHED_RANK)),
        bias_rows: 3072,
    },
    Method {
        name: "sampled",
        summary: "least error of outputs for random inputs; for comparison",
        defaults: || searched(Objective::Sampled { samples: 256 }),
        bias_rows: 3072,
    },
    Method {
        name: "activations",
        summary: "least error of outputs for real inputs, as statistics describe them",
        defaults: || fixed(Objective::Activations { damping: None }, Solver::Best),
        bias_rows: 3072,
    },
    Method {
        name: "adaround",
        summary: "a soft choice between two neighbouring codes, learned on random inputs",
        defaults: || {
            fixed(Objective::Sampled { samples: 256 }, Solver::AdaRound(AdaRound::published()))
        },
        bias_rows: 3072,
    },
    Method {
        name: "adaround-fast",
        summary: "adaround with AdamW, fewer rows and fewer iterations",
        defaults: || fixed(Objective::Sampled { samples: 96 }, Solver::AdaRound(AdaRound::fast())),
        bias_rows: 3072,
    },
    Method {
        name: "tpec",
        summary: "the code steps that most reduce the error along the first singular vectors",
        defaults: || {
            fixed(Objective::Principal(Rank::exactly(1)), Solver::Greedy(Greedy::default()))
        },
        bias_rows: 1024,
    },
    Method {
        name: "tpec-fast",
        summary: "descent along the first singular vectors, its rate doubling and halving",
        defaults: || {
            let solver = Solver::Descent(CodeDescent::tpec_fast());
            fixed(Objective::Principal(Rank::exactly(1)), solver)
        },
        bias_rows: 3072,
    },
];

/// convert_to_quant's rank.
const PUBLISHED_RANK: Rank = Rank { share: 0.2, least: 256, most: 1280 };

/// Returns options as published, where the weight error may rise without a limit.
fn fixed(objective: Objective, solver: Solver) -> Options {
    Options { objective, solver, limit: Limit::None, ..Options::default() }
}

fn searched(objective: Objective) -> Options {
    Options { objective, ..Options::default() }
}

impl Method {
    /// Returns the method of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// Returns the default options of the method.
    #[must_use]
    pub fn options(&self) -> Options {
        (self.defaults)()
    }
}

impl Options {
    /// Returns the options of a method, changed as asked. What becomes of the bias beside a rounded weight is
    /// [`BiasCorrection::of_method`].
    ///
    /// # Errors
    /// [`MethodError`] with every complaint: unknown names, numbers out of range, options that
    /// would change nothing, options that exclude each other.
    pub fn of_method(name: &str, asked: &MethodOptions) -> Result<Self, MethodError> {
        resolve::resolve(name, asked).map(|(options, _)| options)
    }
}

impl BiasCorrection {
    /// Returns the correction that is asked for beside a method.
    ///
    /// # Errors
    /// Those of [`Options::of_method`], whose settings it shares.
    pub fn of_method(name: &str, asked: &MethodOptions) -> Result<Self, MethodError> {
        resolve::resolve(name, asked).map(|(_, bias_correction)| bias_correction)
    }
}
