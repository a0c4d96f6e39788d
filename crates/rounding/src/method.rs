use serde::{Deserialize, Serialize};

use crate::{
    AdaRound, CodeDescent, Greedy, Limit, MethodError, Objective, Options, Rank, Solver, resolve,
};

/// A way to round that has a name: an objective, a solver and their defaults.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Name on the command line and in a recipe.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Its defaults.
    defaults: fn() -> Options,
    /// Random rows of its bias correction, where one is asked for.
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
        defaults: || Options {
            min_tensor_size: 1024,
            ..fixed(Objective::Sampled { samples: 96 }, Solver::AdaRound(AdaRound::fast()))
        },
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

/// As published, where the weight error may rise as it likes.
fn fixed(objective: Objective, solver: Solver) -> Options {
    Options { objective, solver, limit: Limit::None, ..Options::default() }
}

fn searched(objective: Objective) -> Options {
    Options { objective, ..Options::default() }
}

impl Method {
    /// The method of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// Its defaults.
    #[must_use]
    pub fn options(&self) -> Options {
        (self.defaults)()
    }
}

/// What a user may change of a method; `None` keeps the method's default.
///
/// The fields are keys of a recipe, and flags with dashes for underscores. What would change nothing
/// is refused by [`Options::of_method`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MethodOptions {
    /// How the objective is minimised: `best`, `feedback`, `anneal`, `greedy`, `descent` or
    /// `adaround`. Default `best`, or the method's own.
    pub solver: Option<String>,
    /// How a gradient becomes a step: `original`, `sgd`, `adam`, `adamw`, `radam`, `rmsprop`,
    /// `gooddog` or `prodigy`. In place of solver `best` it stands for `descent`. Default `prodigy`
    /// for `descent`, `rmsprop` for `adaround`, `adamw` for `adaround-fast`, `sgd` for `tpec-fast`.
    pub optimizer: Option<String>,
    /// How the learning rate changes: `constant`, `cosine`, `exponential`, `plateau`, `adaptive` or
    /// `doubling`. Default by optimizer.
    pub schedule: Option<String>,
    /// How much time may be spent: `fast`, `normal` or `high`. Default `normal`.
    pub effort: Option<String>,
    /// How far ‖E‖ may rise over nearest codes, as a share from 0 on: 0.03 is 3 %. Default 0.03;
    /// any for `adaround`, `adaround-fast`, `tpec` and `tpec-fast`.
    pub weight_error_budget: Option<f64>,
    /// λ of `objective + λ‖E‖²`, above 0, in place of the budget. Default none.
    pub lambda: Option<f64>,
    /// Singular vectors, as a share of the smaller side, above 0 to 1. Default 0.2.
    pub top_p: Option<f64>,
    /// Singular vectors at least, from 1 on. Default 256.
    pub min_k: Option<usize>,
    /// Singular vectors at most, from `min_k` on. Default 1280.
    pub max_k: Option<usize>,
    /// Singular vectors exactly, from 1 on, in place of the three above. Default 1 for `tpec` and
    /// `tpec-fast`.
    pub top_k: Option<usize>,
    /// Evaluations of a descent, steps of `greedy` or passes of `anneal`, at most; from 1 on.
    /// Default 4000 for `prodigy`, 500 for other descents, 512 for `adaround`, 200 for
    /// `adaround-fast`, 250 for `tpec`.
    pub iterations: Option<usize>,
    /// Rate that the schedule starts from, in units of the variable (grid values of a descent, logits
    /// of AdaRound), above 0. Default 1 for
    /// `prodigy` and `tpec-fast`, 0.03 for `adaround-fast`, 0.01 otherwise.
    pub learning_rate: Option<f64>,
    /// Evaluations without a lower loss that end a descent; 0 for no end. Default 2000 for
    /// `prodigy`, 500 for other descents, 30 for `adaround-fast`, 40 for `tpec-fast`, 0 for
    /// `adaround`.
    pub patience: Option<usize>,
    /// Weight of the term that makes AdaRound's choices hard, above 0. Default 0.01; 0.015 for
    /// `adaround-fast`.
    pub reg_lambda: Option<f64>,
    /// Random input rows, of the objective or of the bias correction; from 1 on. Default 256; 96
    /// for `adaround-fast`; of a bias correction alone 1024 for `tpec` and 3072 otherwise.
    pub calibration_rows: Option<usize>,
    /// Rows that AdaRound multiplies at once, from 1 on: less memory, the same result up to the
    /// last bits. Default all.
    pub calibration_batch: Option<usize>,
    /// What is added to the second moment of real inputs, as a share of the mean of its diagonal,
    /// from 0 on. Default 0.01; 0.05 with fewer than ten samples per column.
    pub damping: Option<f64>,
    /// Change of the bias by the mean output error: `none`, for real inputs `inputs`, for random ones
    /// `synthetic-plus` (the sign that keeps mean outputs) or `synthetic-minus` (as published).
    /// Default `none`.
    pub bias_correction: Option<String>,
}

impl Options {
    /// The options of a method, changed as asked.
    ///
    /// # Errors
    /// [`MethodError`] with every complaint: unknown names, numbers out of range, options that
    /// would change nothing, options that exclude each other.
    pub fn of_method(name: &str, asked: &MethodOptions) -> Result<Self, MethodError> {
        resolve::resolve(name, asked)
    }
}
