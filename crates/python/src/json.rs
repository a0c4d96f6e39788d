use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::raise;

/// Returns a value as plain dictionaries, lists, numbers and texts: those that `json.loads` makes of what
/// `--json` prints.
pub(crate) fn to_python(py: Python<'_>, value: &impl Serialize) -> PyResult<Py<PyAny>> {
    // By way of text, so that Python gets the very objects that it reads from `--json`.
    let text = serde_json::to_string(value).map_err(|error| raise(py, "bug", &error, None))?;
    from_text(py, &text)
}

/// Returns what JSON stands for.
pub(crate) fn from_text(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
    Ok(py.import("json")?.call_method1("loads", (text,))?.unbind())
}

/// Returns keyword arguments as JSON; those that are `None` are left out, and paths are texts.
///
/// # Errors
/// For a value that JSON has no place for.
pub(crate) fn of_keywords(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Map<String, Value>> {
    let mut values = Map::new();
    for (key, value) in keywords.into_iter().flatten().filter(|(_, value)| !value.is_none()) {
        let (py, key) = (value.py(), key.extract::<String>()?);
        let wrong = |_| {
            let found = value.get_type().name().map_or_else(|_| "?".into(), |it| it.to_string());
            let problem = format!("{key}: wrong type: `{found}`");
            raise(py, "recipe", &problem, Some("text, numbers, lists and paths are taken".into()))
        };
        let how = PyDict::new(py);
        // What JSON does not know is asked for its path; anything but a path raises a `TypeError`.
        how.set_item("default", py.import("os")?.getattr("fspath")?)?;
        // Python would write `NaN`, which is no JSON.
        how.set_item("allow_nan", false)?;
        let text = py.import("json")?.call_method("dumps", (&value,), Some(&how)).map_err(wrong)?;
        let json = serde_json::from_str(&text.extract::<String>()?);
        values.insert(key.clone(), json.map_err(|error| raise(py, "recipe", &error, None))?);
    }
    Ok(values)
}
