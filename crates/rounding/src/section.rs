use std::ops::Range;

use roundwise_scheme::{QuantizedMatrix, ScaleRule, Scheme, Tiling};

use crate::round::Found;
use crate::{Inputs, Linear, Rounded, Score};

/// Rows of a layer whose inputs have statistics in common.
pub(crate) struct Section<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) inputs: Option<&'a Inputs>,
}

/// Cuts a layer into sections, from top to bottom; into one where a scheme's blocks allow no more.
pub(crate) fn sections<'a>(
    layer: &Linear<'a>,
    scheme: Scheme,
    rule: ScaleRule,
) -> Vec<Section<'a>> {
    let shape @ [rows, cols] = [layer.weight.rows(), layer.weight.cols()];
    let whole = || vec![Section { rows: 0..rows, inputs: layer.inputs }];
    let may_cut = |part: &Range<usize>| {
        let ends = [part.start, part.end];
        part.end <= rows
            && ends.iter().all(|&row| scheme.tiling().cuts_at(row, shape) || row == rows)
    };
    let fits = |inputs: &Inputs| inputs.columns() == cols;
    let parts = layer.row_inputs;
    // A single scale cannot be searched for by the inputs of a part.
    let has_one_scale = scheme.tiling() == Tiling::Tensor && rule == ScaleRule::Mse;
    if has_one_scale || !parts.iter().all(|part| may_cut(&part.rows) && fits(&part.inputs)) {
        return whole();
    }
    let mut sections = vec![];
    let mut next = 0;
    for part in parts {
        // Rows between two parts have the statistics of the whole layer.
        if next < part.rows.start {
            sections.push(Section { rows: next..part.rows.start, inputs: layer.inputs });
        }
        sections.push(Section { rows: part.rows.clone(), inputs: Some(&part.inputs) });
        next = part.rows.end;
    }
    if next < rows || sections.is_empty() {
        sections.push(Section { rows: next..rows, inputs: layer.inputs });
    }
    sections
}

/// Puts the codes of sections below each other, and their reports together.
///
/// # Panics
/// When there are none.
pub(crate) fn joined(sections: Vec<Found>) -> Rounded {
    let matrices: Vec<QuantizedMatrix> =
        sections.iter().map(|found| found.rounded.matrix.clone()).collect();
    let matrix = QuantizedMatrix::stacked(&matrices);
    let weight_of = |found: &Found| found.rounded.matrix.shape()[0] as f64;
    let rows: f64 = sections.iter().map(weight_of).sum();
    let reports = || sections.iter().map(|found| &found.rounded.report);
    // Solver and λ are those of a section that was searched, where one was.
    let told = reports().find(|report| !report.kept_nearest).or(reports().next());
    let mut report = told.expect("a section").clone();
    // Errors add up over rows; what does not, such as damping, is reported for the worst section.
    report.stored = reports().map(|report| report.stored).fold(Score::default(), Score::plus);
    report.nearest = reports().map(|report| report.nearest).fold(Score::default(), Score::plus);
    report.weight_energy = reports().map(|report| report.weight_energy).sum();
    let changed = sections.iter().map(|found| found.rounded.report.changed * weight_of(found));
    report.changed = changed.sum::<f64>() / rows.max(1.0);
    report.damping = reports().map(|report| report.damping).fold(0.0, f64::max);
    report.rank = reports().map(|report| report.rank).max().unwrap_or(0);
    report.passes = reports().map(|report| report.passes).max().unwrap_or(0);
    report.kept_nearest = reports().all(|report| report.kept_nearest);
    report.bound_ratio = None;
    let outputs: Option<f64> = sections.iter().map(|found| found.output).sum();
    // Ratios do not add up: each is turned into squared units of the model, and their sum is
    // divided by that of all outputs.
    let errors = |pick: fn([f64; 2]) -> f64| -> Option<f64> {
        let absolute =
            |found: &Found| Some(pick(found.rounded.report.output_errors?) * found.output?);
        sections.iter().map(absolute).sum()
    };
    report.output_errors = match (errors(|[stored, _]| stored), errors(|[_, it]| it), outputs) {
        (Some(stored), Some(nearest), Some(outputs)) if outputs > 0.0 => {
            Some([stored / outputs, nearest / outputs])
        }
        (Some(_), Some(_), Some(_)) => Some([0.0; 2]),
        _ => None,
    };
    Rounded { matrix, report }
}

impl Score {
    fn plus(self, other: Self) -> Self {
        Self {
            objective: self.objective + other.objective,
            projected: self.projected + other.projected,
            input_projected: self.input_projected + other.input_projected,
            weight_error: self.weight_error + other.weight_error,
        }
    }
}
