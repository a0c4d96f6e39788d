use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How fast earlier jobs were, by method and device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rates(BTreeMap<String, Rate>);

/// The rate of one method on one device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// Elements of converted weights in a second.
    elements_per_second: f64,
    pub(crate) from: LearnedFrom,
}

/// The source of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LearnedFrom {
    /// A trial.
    Try,
    /// A whole job.
    Job,
}

impl Rates {
    /// - `key`: as [`key`] makes it
    /// - `seconds`: that so many elements took
    pub(crate) fn learn(&mut self, key: String, elements: f64, seconds: f64, from: LearnedFrom) {
        let elements_per_second = elements / seconds;
        // Work on nothing, or in no time, tells nothing; a few weights tell less than a whole job.
        let is_told = elements_per_second.is_finite() && elements_per_second > 0.0;
        let is_known_better = from == LearnedFrom::Try
            && self.0.get(&key).is_some_and(|rate| rate.from == LearnedFrom::Job);
        if is_told && !is_known_better {
            self.0.insert(key, Rate { elements_per_second, from });
        }
    }

    /// Seconds that so many elements take, and how that is known.
    pub(crate) fn seconds(&self, key: &str, elements: f64) -> Option<(f64, LearnedFrom)> {
        let rate = self.0.get(key)?;
        Some((elements / rate.elements_per_second, rate.from))
    }
}

/// Names method and device.
pub(crate) fn key(method: Option<&str>, device: Option<&str>) -> String {
    format!("{} {}", method.unwrap_or("nearest"), device.unwrap_or("auto"))
}

/// Elements of the weights of a report that became codes.
pub(crate) fn converted_elements(report: &Value) -> f64 {
    let tensors = report["tensors"].as_array().into_iter().flatten();
    let converted = tensors.filter(|tensor| tensor["decision"] == "quantize");
    converted.map(|tensor| elements(&tensor["shape"])).sum()
}

fn elements(shape: &Value) -> f64 {
    shape.as_array().into_iter().flatten().filter_map(Value::as_f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_is_known_of_what_was_done_before() {
        let report = json!({ "tensors": [
            { "decision": "quantize", "shape": [10, 20] },
            { "decision": "copy", "shape": [1000] },
        ]});
        let mut rates = Rates::default();
        let key = key(Some("principal"), None);
        assert_eq!(rates.seconds(&key, 400.0), None);
        rates.learn(key.clone(), converted_elements(&report), 2.0, LearnedFrom::Job);
        assert_eq!(rates.seconds(&key, 400.0), Some((4.0, LearnedFrom::Job)));
        rates.learn(key.clone(), 0.0, 0.0, LearnedFrom::Job);
        rates.learn(key.clone(), 1.0, 2.0, LearnedFrom::Try);
        assert_eq!(rates.seconds(&key, 400.0), Some((4.0, LearnedFrom::Job)));
    }
}
