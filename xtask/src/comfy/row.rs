//! What ComfyUI made of one case in one scheme.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A line of the script's output.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Version { version: String },
    WithoutCase { without_case: BTreeMap<String, String> },
    Row(Box<Row>),
}

/// Everything that was found.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Matrix {
    /// ComfyUI's.
    pub(super) version: String,
    pub(super) rows: Vec<Row>,
    /// ComfyUI's classes of models that no case builds, and why.
    pub(super) without_case: BTreeMap<String, String>,
}

impl Matrix {
    /// Returns the rows of both, the later ones where both have a case and a scheme, in the order
    /// of cases.
    pub(super) fn with(mut self, later: Self) -> Self {
        // A case that could not be built or run has a single row, whose scheme is `-`.
        let runs = |case: &str| later.rows.iter().any(|row| row.case == case && row.scheme != "-");
        self.rows.retain(|row| row.scheme != "-" || !runs(&row.case));
        for row in later.rows {
            let same = |other: &Row| (&other.case, &other.scheme) == (&row.case, &row.scheme);
            match self.rows.iter().position(same) {
                Some(at) => self.rows[at] = row,
                None => {
                    let neighbour = self.rows.iter().rposition(|other| other.case == row.case);
                    let at = neighbour.map_or(self.rows.len(), |at| at + 1);
                    self.rows.insert(at, row);
                }
            }
        }
        if !later.without_case.is_empty() {
            self.without_case = later.without_case;
        }
        self
    }
}

/// One case in one scheme.
#[derive(Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) case: String,
    pub(super) kind: String,
    /// ComfyUI's class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) class_name: Option<String>,
    /// The model, as the tool calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
    /// The table of names that was translated by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<String>,
    pub(super) scheme: String,
    /// Whether the conversion was refused, as it should.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) refused: bool,
    /// Layers in codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) layers: Option<usize>,
    /// Largest `‖Ŵ − W‖ / ‖W‖` of a layer.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "short")]
    pub(super) weight_error: Option<f64>,
    /// Relative error of the output.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "short")]
    pub(super) output_error: Option<f64>,
    /// What noise of the weights' errors makes of the output.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "short")]
    pub(super) noise_error: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) defects: Vec<String>,
}

/// Three digits say all that can be compared between machines.
fn short<S: serde::Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    let value = value.unwrap_or_default();
    let digits: f64 = format!("{value:.2e}").parse().map_err(serde::ser::Error::custom)?;
    digits.serialize(to)
}

pub(super) const HEADING: &str = "\
case                           scheme            ComfyUI's class     recognised as               layers  weights   output   noise";

impl Row {
    pub(super) fn is_wrong(&self) -> bool {
        !self.defects.is_empty()
    }

    pub(super) fn print(&self) {
        let percent =
            |error: Option<f64>| error.map_or("-".to_owned(), |it| format!("{:.2} %", it * 100.0));
        let layers = match (self.refused, self.layers) {
            (true, _) => "refused".to_owned(),
            (false, layers) => layers.map_or("-".to_owned(), |layers| layers.to_string()),
        };
        println!(
            "{:<30} {:<17} {:<19} {:<27} {layers:>6} {:>8} {:>8} {:>8}",
            self.case,
            self.scheme,
            self.class_name.as_deref().unwrap_or("-"),
            self.subject.as_deref().unwrap_or("-"),
            percent(self.weight_error),
            percent(self.output_error),
            percent(self.noise_error),
        );
        for defect in &self.defects {
            println!("  WRONG {defect}");
        }
    }
}
