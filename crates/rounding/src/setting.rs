use std::fmt;

use serde::Serialize;

/// A description of a setting of learned rounding, for help texts, documents and forms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MethodSetting {
    /// Key in a recipe; the flag has dashes for underscores.
    pub name: &'static str,
    /// A description of its effect in one line.
    pub meaning: &'static str,
    /// The unit of its numbers, or the quantity they are relative to; `None` for names.
    pub unit: Option<&'static str>,
    /// Values that it may have.
    pub range: SettingRange,
    /// Value that it has by itself, in words, where methods may differ;
    /// [`Method::settings`](crate::Method::settings) gives that of one method.
    pub default: &'static str,
}

/// Values that a setting may have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SettingRange {
    /// One of these names.
    Names {
        /// The names.
        names: &'static [&'static str],
    },
    /// A number.
    Number {
        /// Lower end.
        least: f64,
        /// Whether the lower end itself is allowed.
        includes_least: bool,
        /// Upper end, which is allowed; `None` for none.
        most: Option<f64>,
    },
    /// A whole number.
    Count {
        /// Smallest.
        least: usize,
        /// Largest; `None` for no end.
        most: Option<usize>,
    },
}

/// A value of a setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SettingValue {
    /// One of a few names.
    Name(String),
    /// A number.
    Number(f64),
    /// A whole number.
    Count(usize),
}

impl SettingRange {
    /// Any number above 0.
    pub(crate) const ABOVE_0: Self = Self::Number { least: 0.0, includes_least: false, most: None };
    /// Any number from 0 on.
    pub(crate) const FROM_0: Self = Self::Number { least: 0.0, includes_least: true, most: None };
    /// Any number from 1 on.
    pub(crate) const NUMBER_FROM_1: Self =
        Self::Number { least: 1.0, includes_least: true, most: None };
    /// Any whole number from 1 on.
    pub(crate) const FROM_1: Self = Self::Count { least: 1, most: None };

    /// Returns whether a value lies in the range; a value of another kind does not.
    #[must_use]
    pub fn contains(&self, value: &SettingValue) -> bool {
        match (self, value) {
            (Self::Names { names }, SettingValue::Name(name)) => names.contains(&name.as_str()),
            (Self::Number { least, includes_least, most }, SettingValue::Number(value)) => {
                let is_above = if *includes_least { value >= least } else { value > least };
                value.is_finite() && is_above && most.is_none_or(|most| *value <= most)
            }
            (Self::Count { least, most }, SettingValue::Count(value)) => {
                value >= least && most.is_none_or(|most| *value <= most)
            }
            (Self::Names { .. } | Self::Number { .. } | Self::Count { .. }, _) => false,
        }
    }

    /// Returns a value of the range that no method has by itself, as far as the range allows.
    pub(crate) fn example(&self) -> SettingValue {
        match self {
            Self::Names { names } => {
                SettingValue::Name(names.first().copied().unwrap_or_default().to_owned())
            }
            // Above the lower end, which the range itself may leave out.
            Self::Number { least, .. } => SettingValue::Number(least + 0.5),
            Self::Count { least, .. } => SettingValue::Count(*least),
        }
    }
}

impl MethodSetting {
    /// Returns the line of a help text: meaning, range and default.
    #[must_use]
    pub fn help(&self) -> String {
        format!("{}: {} [default: {}]", self.meaning, self.range, self.default)
    }
}

impl fmt::Display for SettingRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names { names } => f.write_str(&names.join(", ")),
            Self::Number { least, includes_least: true, most: None } => {
                write!(f, "a number from {least} on")
            }
            Self::Number { least, includes_least: true, most: Some(most) } => {
                write!(f, "a number from {least} to {most}")
            }
            Self::Number { least, includes_least: false, most: None } => {
                write!(f, "a number above {least}")
            }
            Self::Number { least, includes_least: false, most: Some(most) } => {
                write!(f, "a number above {least}, to {most}")
            }
            Self::Count { least, most: None } => write!(f, "{least} or more"),
            Self::Count { least, most: Some(most) } => write!(f, "{least} to {most}"),
        }
    }
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

impl From<&str> for SettingValue {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<f64> for SettingValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for SettingValue {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

/// The type of a field of [`MethodOptions`](crate::MethodOptions).
pub(crate) trait Field: Sized {
    /// Returns the value of the field; `None` for a value of another kind.
    fn from_value(value: SettingValue) -> Option<Self>;
}

impl Field for String {
    fn from_value(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Name(name) => Some(name),
            SettingValue::Number(_) | SettingValue::Count(_) => None,
        }
    }
}

impl Field for f64 {
    fn from_value(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Number(number) => Some(number),
            SettingValue::Name(_) | SettingValue::Count(_) => None,
        }
    }
}

impl Field for usize {
    fn from_value(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Count(count) => Some(count),
            SettingValue::Name(_) | SettingValue::Number(_) => None,
        }
    }
}
