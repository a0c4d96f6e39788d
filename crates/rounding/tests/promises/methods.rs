//! A method does what it is asked, or refuses; it never ignores a setting.

use roundwise_optim::{Optimizer, Schedule};
use roundwise_rounding::{
    BiasCorrection, Limit, METHODS, MethodError, MethodOptions, Objective, Options, Problem, Rank,
    Solver,
};

fn asked(keys: &str) -> MethodOptions {
    toml::from_str(keys).unwrap()
}

fn resolved(name: &str, keys: &str) -> Options {
    Options::of_method(name, &asked(keys)).unwrap()
}

fn refused(name: &str, keys: &str) -> MethodError {
    Options::of_method(name, &asked(keys)).unwrap_err()
}

/// Every key, with a value that no method has by itself.
const KEYS: [&str; 21] = [
    "solver = 'feedback'",
    "optimizer = 'radam'",
    "schedule = 'exponential'",
    "effort = 'high'",
    "weight_error_budget = 0.011",
    "lambda = 0.7",
    "top_p = 0.3",
    "min_k = 3",
    "max_k = 1000",
    "top_k = 5",
    "iterations = 17",
    "learning_rate = 0.123",
    "patience = 7",
    "reg_lambda = 0.02",
    "calibration_rows = 33",
    "calibration_batch = 11",
    "damping = 0.2",
    "bias_correction = 'synthetic-plus'",
    "beta_start = 15.0",
    "beta_end = 3.0",
    "sides = 'both'",
];

#[test]
fn every_key_is_in_the_list_of_these_tests() {
    let everything: toml::Table = KEYS.join("\n").parse().unwrap();
    let described = MethodOptions::SETTINGS.iter().map(|setting| setting.name);
    assert!(described.eq(KEYS.map(|key| key.split(' ').next().unwrap())));
    let options: MethodOptions = toml::from_str(&KEYS.join("\n")).unwrap();
    let written = serde_json::to_value(&options).unwrap();
    let fields = written.as_object().unwrap();
    assert_eq!(fields.len(), everything.len());
    assert!(fields.values().all(|value| !value.is_null()), "{written}");
    assert!(toml::from_str::<MethodOptions>("topp = 1").is_err());
}

#[test]
fn no_key_is_ignored() {
    for method in METHODS {
        for key in KEYS {
            let name = key.split(' ').next().unwrap();
            match Options::of_method(method.name, &asked(key)) {
                Ok(options) => {
                    let bias = BiasCorrection::of_method(method.name, &asked(key)).unwrap();
                    let found = (options, bias);
                    let own = (method.options(), BiasCorrection::None);
                    assert_ne!(found, own, "{} {key}", method.name);
                }
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(name), "{message}");
                    assert!(message.contains(method.name), "{message}");
                    assert_eq!(error.complaints.len(), 1, "{message}");
                }
            }
        }
    }
}

#[test]
fn without_wishes_a_method_has_its_published_defaults() {
    for method in METHODS {
        assert_eq!(resolved(method.name, ""), method.options());
    }
    let published = Rank { share: 0.2, least: 256, most: 1280 };
    assert_eq!(resolved("principal", "").objective, Objective::Principal(published));
    assert_eq!(resolved("principal", "").solver, Solver::Best);

    let Solver::AdaRound(slow) = resolved("adaround", "").solver else { panic!() };
    assert_eq!((slow.descent.stop.iterations, slow.descent.learning_rate), (512, 0.01));
    assert_eq!((slow.regularizer, slow.first_beta, slow.last_beta), (0.01, 20.0, 2.0));
    assert!(matches!(slow.descent.optimizer, Optimizer::RmsProp(_)));
    assert_eq!(resolved("adaround", "").objective, Objective::Sampled { samples: 256 });

    let options = resolved("adaround-fast", "");
    let Solver::AdaRound(fast) = options.solver else { panic!() };
    assert_eq!((fast.descent.stop.iterations, fast.descent.learning_rate), (200, 0.03));
    assert_eq!((fast.regularizer, fast.descent.stop.stall_steps), (0.015, 30));
    assert!(matches!(fast.descent.schedule, Schedule::Cosine(_)));
    assert_eq!(options.objective, Objective::Sampled { samples: 96 });

    let Solver::Greedy(greedy) = resolved("tpec", "").solver else { panic!() };
    assert_eq!(greedy.moves, 250);
}

#[test]
fn what_is_asked_is_what_is_done() {
    let options = resolved("principal", "optimizer = 'prodigy'");
    let Solver::Descent(descent) = options.solver else { panic!("{options:?}") };
    assert_eq!((descent.descent.stop.iterations, descent.descent.learning_rate), (4000, 1.0));

    let keys = "optimizer = 'original'\niterations = 40\nlambda = 0.5\ntop_k = 9";
    let options = resolved("principal", keys);
    let Solver::Descent(descent) = options.solver else { panic!("{options:?}") };
    assert_eq!(descent.descent.stop.iterations, 40);
    assert_eq!(options.limit, Limit::Lambda(0.5));
    assert_eq!(options.objective, Objective::Principal(Rank::exactly(9)));

    // Most of 100 leaves no room for least of 256.
    let options = resolved("principal", "max_k = 100");
    let expected = Rank { share: 0.2, least: 100, most: 100 };
    assert_eq!(options.objective, Objective::Principal(expected));

    // A solver that pays weight error gets a budget where the method has none.
    assert_eq!(resolved("adaround", "solver = 'best'").limit, Limit::default());
    // A method's own solver keeps the method's settings.
    assert_eq!(resolved("adaround-fast", "solver = 'adaround'"), resolved("adaround-fast", ""));
    let own = resolved("tpec-fast", "optimizer = 'sgd'");
    assert_eq!(own, resolved("tpec-fast", ""));
}

#[test]
fn a_refusal_names_option_method_and_reason() {
    for (method, keys, expected) in [
        (
            "adaround",
            "top_p = 0.1",
            "top_p: does not apply to method `adaround`: it has no singular vectors",
        ),
        (
            "principal",
            "lambda = 1\nweight_error_budget = 0.1",
            "lambda: does not go together with `weight_error_budget`",
        ),
        ("principal", "top_k = 3\ntop_p = 0.1", "top_p: does not go together with `top_k`"),
        (
            "tpec",
            "max_k = 3",
            "max_k: does not apply to method `tpec`: it takes exactly `top_k` singular vectors",
        ),
        (
            "tpec",
            "optimizer = 'adam'",
            "optimizer: does not apply to method `tpec`: its solver `greedy` takes no steps along gradients",
        ),
        (
            "principal",
            "iterations = 9",
            "iterations: does not apply to method `principal`: its solver `best` does not count iterations",
        ),
        (
            "nearest",
            "lambda = 1",
            "lambda: does not apply to method `nearest`: nearest codes are the minimum already",
        ),
        (
            "stochastic",
            "solver = 'anneal'",
            "solver: does not apply to method `stochastic`: it minimises nothing",
        ),
        (
            "principal",
            "top_p = 1.5",
            "top_p: 1.5 is out of range, expected a number above 0, to 1 (a share of the smaller side)",
        ),
        ("principal", "min_k = 9\nmax_k = 3", "max_k: 3 is less than `min_k`"),
        (
            "adaround",
            "calibration_rows = 0",
            "calibration_rows: 0 is out of range, expected 1 to 65536 (rows)",
        ),
        (
            "tpec",
            "calibration_rows = 9",
            "calibration_rows: does not apply to method `tpec`: it draws no random rows",
        ),
        (
            "activations",
            "solver = 'descent'\nsides = 'both'",
            "sides: does not apply to method `activations`: its solver `descent` does not couple rows",
        ),
        (
            "principal",
            "sides = 'both'",
            "sides: does not apply to method `principal`: it does not look at real inputs",
        ),
    ] {
        assert_eq!(refused(method, keys).to_string(), expected, "{method}, {keys}");
    }
}

#[test]
fn every_complaint_is_collected() {
    let keys = "solver = 'x'\noptimizer = 'y'\nschedule = 'z'\nlambda = -1\nmin_k = 0\n\
                bias_correction = 'q'\neffort = 'e'";
    let complaints = refused("principal", keys).complaints;
    let unknown: Vec<_> = complaints
        .iter()
        .filter_map(|complaint| match &complaint.problem {
            Problem::UnknownName { known, .. } => {
                assert!(known.len() >= 3);
                Some(complaint.setting)
            }
            _ => None,
        })
        .collect();
    assert_eq!(unknown, ["solver", "optimizer", "schedule", "bias_correction", "effort"]);
    let is_range = |problem: &Problem| matches!(problem, Problem::OutOfRange { .. });
    assert_eq!(complaints.iter().filter(|complaint| is_range(&complaint.problem)).count(), 2);

    let error = Options::of_method("rtn", &MethodOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "method: `rtn` is not known\n  known: nearest, stochastic, principal, principal-input, \
         sampled, activations, adaround, adaround-fast, tpec, tpec-fast"
    );
}

/// The values that a list of settings gives for a method are those it uses.
#[test]
fn asking_for_what_a_method_has_changes_nothing() {
    for method in METHODS {
        for setting in method.settings() {
            let name = setting.setting.name;
            let Some(value) = setting.value else { continue };
            assert!(setting.setting.range.contains(&value), "{} {name}", method.name);
            let asked = MethodOptions::default().with(name, value).unwrap();
            let options = Options::of_method(method.name, &asked).unwrap();
            assert_eq!(options, method.options(), "{} {name}", method.name);
        }
    }
}

#[test]
fn a_method_lists_the_settings_that_change_something_of_it() {
    for method in METHODS {
        let settings = method.settings();
        for setting in MethodOptions::SETTINGS {
            let listed = settings.iter().find(|it| it.setting.name == setting.name);
            let is_key = |key: &&&str| key.split(' ').next() == Some(setting.name);
            let key = KEYS.iter().find(is_key).unwrap();
            let asked = |solver: &str| match (setting.name, solver) {
                ("solver", _) | (_, "") => asked(key),
                _ => asked(&format!("solver = '{solver}'\n{key}")),
            };
            let is_taken = |solver: &str| Options::of_method(method.name, &asked(solver)).is_ok();
            match listed {
                None => assert!(
                    !is_taken("") && !Solver::NAMES.iter().any(|solver| is_taken(solver)),
                    "{} {}",
                    method.name,
                    setting.name
                ),
                Some(found) if found.solvers.is_empty() => assert!(is_taken(""), "{found:?}"),
                Some(found) => {
                    assert!(!is_taken(""), "{} {}", method.name, setting.name);
                    assert!(found.solvers.iter().all(|solver| is_taken(solver)), "{found:?}");
                }
            }
        }
    }
}

#[test]
fn the_page_on_rounding_describes_every_setting() {
    let page = include_str!("../../../../docs/rounding.md");
    for setting in MethodOptions::SETTINGS {
        let unit = setting.unit.unwrap_or("–");
        let row = format!(
            "| `{}` | {} | {} | {unit} | {} |",
            setting.name, setting.meaning, setting.range, setting.default
        );
        assert!(page.contains(&row), "docs/rounding.md lacks the row\n{row}");
    }
}

#[test]
fn the_page_on_rounding_names_everything() {
    let page = include_str!("../../../../docs/rounding.md");
    let objectives = ["none", "weight", "principal", "principal-input", "sampled", "activations"];
    let methods = METHODS.iter().map(|method| method.name);
    for name in methods.chain(Solver::NAMES).chain(objectives) {
        assert!(page.contains(&format!("| `{name}` |")), "{name} has no row in docs/rounding.md");
    }
}
