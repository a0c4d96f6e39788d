use roundwise_compute::Engine;
use roundwise_grid::{Code, Grid, GridVisitor};
use roundwise_scheme::{QuantizedMatrix, ScaleRule, Scheme};

use crate::attempt::Attempt;
use crate::cells::Cells;
use crate::centred::Centred;
use crate::guard::{is_better, score};
use crate::layer::Layer;
use crate::outputs::RowCoupling;
use crate::projection::Projection;
use crate::search_cache::Key;
use crate::section::{Section, joined, sections};
use crate::solve::State;
use crate::{
    Limit, Linear, Objective, Options, OutputMoment, RoundingError, RoundingReport, Score,
    SearchCache, SecondMoment, Sides, Solver, Watch, relative_output_error,
};

/// Codes, and the report on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// The codes to store.
    pub matrix: QuantizedMatrix,
    /// The report on them.
    pub report: RoundingReport,
}

/// Chooses the codes of a matrix.
///
/// - `layer`: a weight `[m, n]`, finite, and what is known of its inputs
/// - `rule`: how scales are chosen; they are fixed before the first code is
/// - `seed`: of whatever is random; the same seed gives the same bytes on a CPU for any number of
///   threads
///
/// Nearest codes are stored where the solver does not beat them in the declared objective, or
/// breaks the budget. Takes up to four `f32` copies of the weight; five with the solver `greedy`,
/// and up to fourteen with those that descend by gradients, most of them the optimizer's.
///
/// # Errors
/// [`RoundingError`]: a weight that is not finite or not covered by its blocks, an option out of
/// range, or a watcher that said stop.
pub fn round<'a>(
    layer: impl Into<Linear<'a>>,
    scheme: Scheme,
    rule: ScaleRule,
    options: &Options,
    engine: &Engine,
    seed: u64,
    watch: &mut dyn Watch,
) -> Result<Rounded, RoundingError> {
    // A generic function is compiled in each crate that calls it; the solvers, each on every grid,
    // are compiled here once.
    Search { asked: layer.into(), scheme, rule, options, engine, seed }.run(watch)
}

/// A search for the codes of a layer: what is asked, and how.
struct Search<'a> {
    asked: Linear<'a>,
    scheme: Scheme,
    rule: ScaleRule,
    options: &'a Options,
    engine: &'a Engine,
    seed: u64,
}

/// What rounding some rows gave.
pub(crate) struct Found {
    pub(crate) rounded: Rounded,
    /// `tr(WHWᵀ)`, in squared model units, where the objective is about outputs.
    pub(crate) output: Option<f64>,
}

impl Search<'_> {
    fn run(&self, watch: &mut dyn Watch) -> Result<Rounded, RoundingError> {
        self.options.check()?;
        if !self.scheme.has_free_codes() {
            return Err(RoundingError::Unsearchable { scheme: self.scheme });
        }
        let mut found = vec![];
        for section in sections(&self.asked, self.scheme, self.rule) {
            found.push(self.round_section(&section, watch)?);
        }
        match found.len() {
            1 => Ok(found.remove(0).rounded),
            _ => Ok(joined(found)),
        }
    }

    fn round_section(
        &self,
        section: &Section<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Found, RoundingError> {
        let Self { asked, scheme, rule, options, engine, seed } = *self;
        let Linear { weight, cache, .. } = asked;
        let inputs = section.inputs;
        let objective = options.objective;
        // 1. The inputs as the columns of this scheme see them, rotated where it rotates.
        let group = scheme.rotation().and_then(|rotation| rotation.group(weight.cols()));
        let rotated = group.zip(inputs).filter(|(_, inputs)| inputs.columns() == weight.cols());
        let rotated = rotated.map(|(group, inputs)| inputs.rotated(group));
        let seen = rotated.as_ref().or(inputs);
        let is_seen = matches!(objective, Objective::Activations { .. });
        let importance = seen.filter(|inputs| is_seen && inputs.columns() == weight.cols());
        let importance = importance.map(|inputs| inputs.second_moment().diagonal());
        // 2. Scales and nearest codes, of the whole weight even where only some rows are rounded: a
        // scale of the tensor is the same in all sections.
        let layer = Layer::new(weight, scheme, rule, importance.as_deref())?;
        let is_whole = section.rows.len() == weight.rows();
        let layer = if is_whole { layer } else { layer.row_range(section.rows.clone()) };
        let has_mean = seen.is_some_and(|inputs| inputs.mean().iter().any(|mean| *mean != 0.0));
        // 3. The directions of the objective, once for all schemes that see the layer alike.
        let (effort, rows) = (options.effort, [section.rows.start, section.rows.end]);
        let key = Key { objective, effort, seed, group, rows, has_mean };
        let find = || Projection::of(objective, &layer, seen, options.effort, engine, seed);
        let projection = cache.unwrap_or(&SearchCache::default()).get_or_find(key, engine, find)?;
        // Only feedback hands errors on between rows. Gradients are those of all outputs; they are not
        // cut to a part of the rows.
        let is_coupled = options.sides == Sides::Both
            && matches!(options.solver, Solver::Best | Solver::Feedback(_));
        let outputs = asked
            .outputs
            .filter(|outputs| is_seen && is_whole && is_coupled && outputs.rows() == weight.rows());
        let coupling = outputs.map(OutputMoment::coupling).transpose()?.flatten();
        // Rotating a factor with a diagonal leaves out what the rotation puts beside the diagonal.
        let is_partial = rotated
            .as_ref()
            .is_some_and(|rotated| matches!(rotated.second_moment(), SecondMoment::LowRank { .. }));
        let nearest = is_partial.then(|| layer.nearest.clone());
        // 4. The search, compiled for this grid.
        let round = Round {
            layer,
            projection: &projection,
            coupling: coupling.as_ref(),
            options,
            engine,
            seed,
            watch,
        };
        let mut found = match scheme.has_zero_points() {
            true => round.visit::<Centred>(),
            false => scheme.grid().visit(round),
        }?;
        // 5. The errors of outputs again, by the inputs as they are, so that schemes with and without
        // rotation compare.
        if let (Some(nearest), Some(_)) = (nearest, found.rounded.report.output_errors) {
            let rows = weight.row_range(section.rows.clone());
            let seen_as_they_are = Linear::from(&rows).with_inputs(inputs);
            let error = |codes| relative_output_error(seen_as_they_are, codes, engine);
            let errors = [error(&found.rounded.matrix)?, error(&nearest)?];
            found.rounded.report.output_errors = Some(errors);
        }
        Ok(found)
    }
}

struct Round<'a> {
    layer: Layer<'a>,
    projection: &'a Projection,
    coupling: Option<&'a RowCoupling>,
    options: &'a Options,
    engine: &'a Engine,
    seed: u64,
    watch: &'a mut dyn Watch,
}

impl GridVisitor for Round<'_> {
    type Output = Result<Found, RoundingError>;

    fn visit<G: Grid>(self) -> Self::Output {
        let Self { layer, projection, coupling, options, engine, seed, watch } = self;
        // 1. The score of nearest codes.
        let cells = Cells::new(&layer, projection.order.clone());
        let weight_energy = cells.weight_energy();
        let found = projection.project(&cells, engine);
        let nearest = score(&found, projection, &layer, options.limit);
        let output = output_energy(options.objective, &cells, projection, &layer, engine);
        let relative = |score: Score, output: f64| match score.projected {
            0.0 => 0.0,
            error => error / output,
        };
        let mut report = RoundingReport {
            objective: options.objective.name(),
            solver: "nearest",
            stored: nearest,
            nearest,
            weight_energy: weight_energy * layer.unit * layer.unit,
            output_errors: output.map(|output| [relative(nearest, output); 2]),
            damping: projection.damping,
            changed: 0.0,
            rank: projection.rank(),
            lambda: options.limit.lambda(),
            bound_ratio: None,
            passes: 0,
            kept_nearest: true,
        };
        // Nearest codes are the minimum of ‖E‖², and nothing beats an objective that is 0.
        let is_open = match options.objective {
            Objective::None => weight_energy > 0.0,
            Objective::Weight => false,
            Objective::Principal(_)
            | Objective::PrincipalInput(_)
            | Objective::Sampled { .. }
            | Objective::Activations { .. } => nearest.projected > 0.0,
        };
        // A matrix whose tiles differ by more than f32 spans has scales that this search cannot see.
        let has_lost_scales = cells.smallest_scale() < f32::MIN_POSITIVE;
        if !is_open || has_lost_scales {
            let rounded = Rounded { matrix: layer.nearest, report };
            return Ok(Found { rounded, output });
        }

        // 2. The search.
        let mut state = State::new(engine, projection, cells, layer.unit, found);
        state.coupling = coupling.filter(|_| projection.is_triangular);
        let attempt = Attempt::make::<G>(&mut state, options, seed, watch)?;
        report.solver =
            if state.coupling.is_some() { "two-sided feedback" } else { attempt.solver };
        report.passes = attempt.passes;
        report.lambda = attempt.lambda.unwrap_or(report.lambda);
        let stored = score(&state.found(attempt.is_tracked), projection, &layer, options.limit);
        let has_to_be_better = options.objective != Objective::None;
        // 3. What is no better is not stored. Stochastic rounding has nothing to be better in.
        if has_to_be_better && !is_better(&stored, &nearest, options.limit) {
            let rounded = Rounded { matrix: layer.nearest, report };
            return Ok(Found { rounded, output });
        }
        // 4. The codes, and how many of them are not the nearest.
        let matrix = state.cells.quantized(&layer)?;
        // Compared by bytes, as files are: two codes of one value, 0 and −0, would count as
        // changed, but no grid stores −0.
        let code_bytes = G::Code::BYTES;
        let changed = matrix
            .codes()
            .chunks_exact(code_bytes)
            .zip(layer.nearest.codes().chunks_exact(code_bytes))
            .filter(|(a, b)| a != b)
            .count();
        report.changed = changed as f64 / (matrix.codes().len() / code_bytes) as f64;
        report.stored = if changed == 0 { nearest } else { stored };
        report.output_errors =
            output.map(|output| [report.stored, nearest].map(|score| relative(score, output)));
        report.bound_ratio = report.bound_ratio_of(options.objective, layer.nearest.shape());
        report.kept_nearest = changed == 0;
        Ok(Found { rounded: Rounded { matrix, report }, output })
    }
}

/// Returns `tr(WHWᵀ)`, the objective of codes that are all 0, where it is about outputs.
fn output_energy(
    objective: Objective,
    cells: &Cells,
    projection: &Projection,
    layer: &Layer<'_>,
    engine: &Engine,
) -> Option<f64> {
    let Objective::Activations { .. } = objective else { return None };
    let found = projection.project_errors(cells, engine, |lines| cells.weights_of(lines));
    Some(score(&found, projection, layer, Limit::None).projected)
}
