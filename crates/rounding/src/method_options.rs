use roundwise_optim::{Optimizer, Schedule};
use serde::{Deserialize, Serialize};

use crate::setting::Field;
use crate::{BiasCorrection, Effort, MethodSetting, SettingRange, SettingValue, Sides, Solver};

/// Makes the options of a method, their table and their flags from one list, so that a setting is
/// written once.
macro_rules! method_options {
    ($($(#[$attribute:meta])* $name:ident: $kind:ty {
        meaning: $meaning:literal,
        placeholder: $placeholder:literal,
        unit: $unit:expr,
        range: $range:expr,
        default: $default:literal,
    })*) => {
        /// Settings of a method that a user may change; `None` keeps the method's default.
        ///
        /// The fields are keys of a recipe, and flags with dashes for underscores;
        /// [`MethodOptions::SETTINGS`] describes them. A setting that would change nothing is
        /// refused by [`Options::of_method`](crate::Options::of_method).
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "clap", derive(clap::Args))]
        #[serde(deny_unknown_fields, default)]
        pub struct MethodOptions {
            $(
                #[doc = concat!($meaning, ". Default ", $default, ".")]
                $(#[$attribute])*
                #[cfg_attr(feature = "clap", arg(
                    long,
                    value_name = $placeholder,
                    allow_negative_numbers = true,
                    help = MethodOptions::setting(stringify!($name)).help(),
                ))]
                pub $name: Option<$kind>,
            )*
        }

        impl MethodOptions {
            /// Every setting, in the order in which help texts list them.
            pub const SETTINGS: &[MethodSetting] = &[$(MethodSetting {
                name: stringify!($name),
                meaning: $meaning,
                unit: $unit,
                range: $range,
                default: $default,
            }),*];

            /// Sets a setting by its name; `None` where there is none, or it takes another kind of
            /// value.
            #[must_use]
            pub fn with(mut self, name: &str, value: SettingValue) -> Option<Self> {
                match name {
                    $(stringify!($name) => self.$name = Some(Field::from_value(value)?),)*
                    _ => return None,
                }
                Some(self)
            }
        }
    };
}

/// Reads a share: `0.03`, or `3%`.
#[cfg(feature = "clap")]
fn parse_share(text: &str) -> Result<f64, String> {
    let (number, divisor) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text, 1.0),
    };
    // Whether the number is in range is asked later, together with all other settings, so that one
    // answer has every complaint.
    let number = number.parse::<f64>().map_err(|_| "expected a share such as 0.03, or 3%")?;
    Ok(number / divisor)
}

// The order is that of the JSON in headers and journals, which outputs are compared by.
method_options! {
    solver: String {
        meaning: "How the objective is minimised",
        placeholder: "SOLVER",
        unit: None,
        range: SettingRange::Names { names: &Solver::NAMES },
        default: "best, or the method's own",
    }
    optimizer: String {
        meaning: "How a gradient becomes a step; in place of solver best it stands for descent",
        placeholder: "OPTIMIZER",
        unit: None,
        range: SettingRange::Names { names: &Optimizer::NAMES },
        default: "prodigy for descent, rmsprop for adaround, adamw for adaround-fast, sgd for tpec-fast",
    }
    schedule: String {
        meaning: "How the learning rate changes",
        placeholder: "SCHEDULE",
        unit: None,
        range: SettingRange::Names { names: &Schedule::NAMES },
        default: "by optimizer",
    }
    effort: String {
        meaning: "How much time may be spent",
        placeholder: "EFFORT",
        unit: None,
        range: SettingRange::Names { names: &Effort::NAMES },
        default: "normal",
    }
    #[cfg_attr(feature = "clap", arg(value_parser = parse_share))]
    weight_error_budget: f64 {
        meaning: "How far ‖E‖ may rise over nearest codes, e.g. 0.03 for 3 %",
        placeholder: "SHARE",
        unit: Some("a share of ‖E‖ of nearest codes: 0.03 for 3 %"),
        range: SettingRange::Number { least: 0.0, includes_least: true, most: Some(1.0) },
        default: "0.03; any for activations, adaround, adaround-fast, tpec and tpec-fast",
    }
    lambda: f64 {
        meaning: "λ of objective + λ‖E‖², instead of a budget",
        placeholder: "NUMBER",
        unit: Some("objective per squared weight error"),
        range: SettingRange::ABOVE_0,
        default: "none",
    }
    #[cfg_attr(feature = "clap", arg(value_parser = parse_share))]
    top_p: f64 {
        meaning: "Singular vectors, as a share of the matrix's smaller side",
        placeholder: "SHARE",
        unit: Some("a share of the smaller side"),
        range: SettingRange::Number { least: 0.0, includes_least: false, most: Some(1.0) },
        default: "0.2",
    }
    min_k: usize {
        meaning: "Singular vectors at least",
        placeholder: "N",
        unit: Some("singular vectors"),
        range: SettingRange::FROM_1,
        default: "256",
    }
    max_k: usize {
        meaning: "Singular vectors at most",
        placeholder: "N",
        unit: Some("singular vectors"),
        range: SettingRange::FROM_1,
        default: "1280",
    }
    top_k: usize {
        meaning: "Singular vectors exactly, in place of a share with its least and most",
        placeholder: "N",
        unit: Some("singular vectors"),
        range: SettingRange::FROM_1,
        default: "1 for tpec and tpec-fast",
    }
    iterations: usize {
        meaning: "Steps of a descent or of greedy, or passes of anneal, at most",
        placeholder: "N",
        unit: Some("steps or passes"),
        range: SettingRange::FROM_1,
        default: "4000 for prodigy, 500 for other descents, 512 for adaround, 200 for adaround-fast, 250 for tpec",
    }
    learning_rate: f64 {
        meaning: "Learning rate that the schedule starts from",
        placeholder: "RATE",
        unit: Some("grid values of a descent, logits of adaround"),
        range: SettingRange::ABOVE_0,
        default: "1 for prodigy and tpec-fast, 0.03 for adaround-fast, 0.01 otherwise",
    }
    patience: usize {
        meaning: "Steps without a lower loss that end a descent, 0 for no end",
        placeholder: "N",
        unit: Some("steps"),
        range: SettingRange::Count { least: 0, most: None },
        default: "2000 for prodigy, 500 for other descents, 30 for adaround-fast, 40 for tpec-fast, 0 for adaround",
    }
    reg_lambda: f64 {
        meaning: "Weight of the term that makes the choices of adaround hard",
        placeholder: "NUMBER",
        unit: Some("loss of nearest codes per weight"),
        range: SettingRange::ABOVE_0,
        default: "0.01; 0.015 for adaround-fast",
    }
    calibration_rows: usize {
        meaning: "Random input rows, of the objective or of the bias correction",
        placeholder: "N",
        unit: Some("rows"),
        // They take memory like columns of the weight; more of them find nothing new.
        range: SettingRange::Count { least: 1, most: Some(65536) },
        default: "256, 96 for adaround-fast; of a bias correction alone 1024 for tpec, 3072 otherwise",
    }
    calibration_batch: usize {
        meaning: "Random input rows that are multiplied at once: less memory, the same result but for last bits",
        placeholder: "N",
        unit: Some("rows"),
        range: SettingRange::FROM_1,
        default: "all",
    }
    damping: f64 {
        meaning: "What is added to the second moment of real inputs, as a share of its mean",
        placeholder: "SHARE",
        unit: Some("a share of the mean of the diagonal"),
        range: SettingRange::FROM_0,
        default: "5 over the samples per column, 0.01 to 0.1",
    }
    bias_correction: String {
        meaning: "Change of biases by the mean output error: for real inputs, or for random ones with the sign that keeps mean outputs (plus) or as published (minus)",
        placeholder: "RULE",
        unit: None,
        range: SettingRange::Names { names: &BiasCorrection::NAMES },
        default: "none",
    }
    // Left out of the JSON where it is not set, so that outputs from before it existed stay the same
    // byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_start: f64 {
        meaning: "Exponent β of the term that makes the choices of adaround hard, in the first step",
        placeholder: "NUMBER",
        unit: Some("an exponent; 1 pushes all choices alike, more only those that are nearly made"),
        range: SettingRange::NUMBER_FROM_1,
        default: "20",
    }
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_end: f64 {
        meaning: "The same in the last step; between them β changes linearly",
        placeholder: "NUMBER",
        unit: Some("an exponent"),
        range: SettingRange::NUMBER_FROM_1,
        default: "2",
    }
    #[serde(skip_serializing_if = "Option::is_none")]
    sides: String {
        meaning: "Where feedback carries an error on: to other columns, by the inputs, or to other rows as well, by the gradients of the outputs, where statistics have these",
        placeholder: "SIDES",
        unit: None,
        range: SettingRange::Names { names: &Sides::NAMES },
        default: "inputs",
    }
}

impl MethodOptions {
    /// Returns the description of a setting.
    ///
    /// # Panics
    /// When there is no setting of this name: names are written in code, not typed.
    #[must_use]
    pub(crate) fn setting(name: &str) -> &'static MethodSetting {
        let found = Self::SETTINGS.iter().find(|setting| setting.name == name);
        found.unwrap_or_else(|| panic!("no setting is called `{name}`"))
    }
}
