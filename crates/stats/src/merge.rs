use std::path::Path;

use roundwise_tensor_file::{Committed, Overwrite};

use crate::StatsErrorKind as Kind;
use crate::curvature::{MixedInputs, OutputGradient};
use crate::reduce::{leading_factor, reduced_factor};
use crate::write::{GradientPlan, LayerPlan, StatisticsWriter};
use crate::{
    Curvature, Knowledge, LayerShape, LayerStatistics, Moment, SecondMoment, Statistics, StatsError,
};

/// A union of two or more files, as if their inputs had been seen in one run.
///
/// Made from headers, counts and moments of mixed inputs; [`Self::write`] then holds two layers at a time.
/// Layers that only one file has are copied.
#[derive(Debug)]
pub struct Merge<'a> {
    sources: &'a [Statistics],
    plans: Vec<LayerPlan>,
    curvature: Option<Curvature>,
    weakened: Vec<String>,
}

impl<'a> Merge<'a> {
    /// Compares the files.
    ///
    /// # Errors
    /// When a module has another shape in another file, or a count cannot be read.
    pub fn plan(sources: &'a [Statistics]) -> Result<Self, StatsError> {
        let mut modules: Vec<&str> =
            sources.iter().flat_map(|s| s.layers()).map(|l| l.module.as_str()).collect();
        modules.sort_unstable();
        modules.dedup();
        let curvature = common_curvature(sources)?;
        let mut merge = Self { sources, plans: Vec::new(), curvature, weakened: Vec::new() };
        for module in modules {
            let plan = merge.plan_layer(module)?;
            merge.plans.push(plan);
        }
        Ok(merge)
    }

    /// Returns the layers of which the result knows less than the best of its sources.
    pub fn weakened(&self) -> &[String] {
        &self.weakened
    }

    /// Returns the layers that only one of several sources has, which suggests another model.
    pub fn in_one_only(&self) -> impl Iterator<Item = &LayerShape> {
        let is_of = |source: &&Statistics, layer: &LayerShape| source.get(&layer.module).is_some();
        let count =
            move |layer: &LayerShape| self.sources.iter().filter(|it| is_of(it, layer)).count();
        self.layers().filter(move |layer| self.sources.len() > 1 && count(layer) == 1)
    }

    /// Returns the layers of the result, sorted by module.
    pub fn layers(&self) -> impl Iterator<Item = &LayerShape> {
        self.plans.iter().map(|plan| &plan.shape)
    }

    /// Merges layer by layer; the file takes its name when it is complete.
    ///
    /// # Errors
    /// When a layer's numbers contradict each other, or the file cannot be written.
    pub fn write(&self, path: &Path, overwrite: Overwrite) -> Result<Committed, StatsError> {
        let (tool, plans) = (self.tool(), self.plans.clone());
        let writer = StatisticsWriter::create(path, overwrite, &tool, plans)?;
        for plan in &self.plans {
            let module = plan.shape.module.as_str();
            let layer = self.fold(
                module,
                |source| source.layer(module).map(Some),
                LayerStatistics::merged,
            )?;
            writer.write(module, &layer.expect("a module comes from a source"))?;
            // Each part by itself, since only some of the sources may have it.
            let mixed = self.fold(module, |source| source.mixed(module), MixedInputs::merged)?;
            if let Some(mixed) = mixed {
                writer.write_mixed(module, &mixed)?;
            }
            let gradient =
                self.fold(module, |source| source.gradient(module), OutputGradient::merged)?;
            if let Some(gradient) = gradient {
                writer.write_gradient(module, &gradient)?;
            }
        }
        writer.commit()
    }

    /// Merges what the sources have of a module, one after the other.
    fn fold<T>(
        &self,
        module: &str,
        read: impl Fn(&Statistics) -> Result<Option<T>, StatsError>,
        merge: impl Fn(&T, &T) -> Result<T, Kind>,
    ) -> Result<Option<T>, StatsError> {
        let mut merged: Option<T> = None;
        for source in self.sources.iter().filter(|source| source.get(module).is_some()) {
            let Some(next) = read(source)? else { continue };
            merged = Some(match merged {
                None => next,
                Some(before) => {
                    merge(&before, &next).map_err(|kind| kind.at_layer(source.path(), module))?
                }
            });
        }
        Ok(merged)
    }

    /// Names every tool once, in the order of the files.
    fn tool(&self) -> String {
        let mut tools: Vec<&str> = Vec::new();
        // A merged file names several tools already.
        for tool in self.sources.iter().flat_map(|source| source.tool().split(" + ")) {
            if !tool.is_empty() && !tools.contains(&tool) {
                tools.push(tool);
            }
        }
        tools.join(" + ")
    }

    fn plan_layer(&mut self, module: &str) -> Result<LayerPlan, StatsError> {
        let mut plan: Option<LayerPlan> = None;
        let mut first: &Path = Path::new("");
        let mut best = Knowledge::Diagonal;
        for source in self.sources {
            let (Some(shape), Some(knowledge)) = (source.get(module), source.knowledge(module))
            else {
                continue;
            };
            best = best.max(knowledge);
            let (count, has_mean) = (source.count(module)?, source.has_mean(module));
            plan = Some(match plan {
                None => {
                    first = source.path();
                    let (mixed, gradient) = (None, None);
                    let has_largest = source.has_largest(module);
                    let shape = shape.clone();
                    LayerPlan { shape, count, has_mean, has_largest, knowledge, mixed, gradient }
                }
                Some(plan) if plan.shape.agrees_with(shape) => LayerPlan {
                    shape: LayerShape {
                        // Rows that a file does not know are 0 in it.
                        rows: plan.shape.rows.max(shape.rows),
                        ..plan.shape.clone()
                    },
                    count: added(plan.count, count)
                        .map_err(|kind| kind.at_layer(source.path(), module))?,
                    has_mean: plan.has_mean && has_mean,
                    has_largest: plan.has_largest && source.has_largest(module),
                    knowledge: plan.knowledge.together(knowledge),
                    ..plan
                },
                Some(plan) => {
                    let kind = Kind::ShapesDiffer {
                        found: shape.extents(),
                        expected: plan.shape.extents(),
                        other: first.display().to_string(),
                    };
                    return Err(kind.at_layer(source.path(), module));
                }
            });
        }
        let mut plan = plan.expect("a module comes from a source");
        self.plan_curvature(module, &mut plan)?;
        if plan.knowledge < best {
            self.weakened.push(module.to_owned());
        }
        Ok(plan)
    }
}

impl Merge<'_> {
    /// Plans what goes beyond the statistics of inputs: it comes from the sources that have it.
    fn plan_curvature(&self, module: &str, plan: &mut LayerPlan) -> Result<(), StatsError> {
        let sources = || self.sources.iter().filter(|source| source.get(module).is_some());
        let knowledge = |moment| {
            let known = move |source: &Statistics| source.knowledge_of(module, moment);
            sources().filter_map(known).reduce(Knowledge::together)
        };
        if let Some(knowledge) = knowledge(Moment::Mixed) {
            // Mixed inputs of different rows are refused when they are merged.
            let mixed =
                sources().find_map(|source| source.mixed(module).transpose()).transpose()?;
            plan.mixed = mixed.map(|mixed| (knowledge, mixed.rows.len()));
        }
        // What only one of several knows is dropped, as `OutputGradient::merged` drops it.
        let with_gradient = || sources().filter(|source| source.has_gradient(module));
        let of_all = |moment| {
            let is_known = |source: &Statistics| source.knowledge_of(module, moment).is_some();
            knowledge(moment).filter(|_| with_gradient().all(is_known))
        };
        if let Some(curvature) = self.curvature
            && with_gradient().next().is_some()
        {
            let outputs = of_all(Moment::Outputs).map(|knowledge| {
                let side = |source: &Statistics| source.side_of_outputs(module);
                (knowledge, with_gradient().find_map(side).unwrap_or(plan.shape.rows))
            });
            let weighted = of_all(Moment::Weighted);
            plan.gradient = Some(GradientPlan { curvature, weighted, outputs });
        }
        Ok(())
    }
}

/// Returns the predictions that gradients are of in all files that have any.
///
/// # Errors
/// [`Kind::OtherCurvature`] where they differ.
fn common_curvature(sources: &[Statistics]) -> Result<Option<Curvature>, StatsError> {
    let mut common: Option<Curvature> = None;
    for source in sources {
        match (common, source.curvature()) {
            (Some(expected), Some(found)) if expected != found => {
                let kind = Kind::OtherCurvature { found: found.name(), expected: expected.name() };
                return Err(kind.at(source.path()));
            }
            (common_so_far, found) => common = common_so_far.or(found),
        }
    }
    Ok(common)
}

impl Knowledge {
    /// Returns the knowledge of a mixture: that of the less known part; of two factors, the larger
    /// rank.
    fn together(self, other: Self) -> Self {
        match (self, other) {
            (Self::Factor { rank: a }, Self::Factor { rank: b }) => Self::Factor { rank: a.max(b) },
            (a, b) => a.min(b),
        }
    }
}

impl LayerStatistics {
    /// Computes the statistics of both sets of inputs together, a and b their shares of the samples:
    ///
    /// ```text
    /// mean           a·μ_A + b·μ_B
    /// second moment  a·s_A + b·s_B
    /// covariance     a·C_A + b·C_B + a·b·δδᵀ,  δ = μ_B − μ_A
    /// factor         the leading directions of [√a·F_A, √b·F_B], as many as the larger factor has
    /// ```
    ///
    /// Sums in F64. What a factor loses stays in the diagonal, which is exact. Of unlike kinds the
    /// weaker remains: a whole matrix beside a factor is first cut to the factor's rank (n³ work).
    ///
    /// # Errors
    /// When columns differ or the counts overflow.
    ///
    /// # Source
    /// Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    /// variances", 1979, in matrices.
    pub fn merged(&self, other: &Self) -> Result<Self, Kind> {
        let (found, expected) = (other.columns(), self.columns());
        if found != expected {
            return Err(Kind::Length { part: "second_moment", found, expected });
        }
        let count = added(self.count(), other.count())?;
        // Shares, not counts: a side-car holds means, and sums over all samples would leave the range of F32.
        let a = self.count() as f64 / count as f64;
        let b = other.count() as f64 / count as f64;
        let mix = |x: &[f32], y: &[f32]| -> Vec<f32> {
            x.iter().zip(y).map(|(&x, &y)| (a * f64::from(x) + b * f64::from(y)) as f32).collect()
        };
        let mean = self.mean().zip(other.mean()).map(|(x, y)| mix(x, y));
        let diagonal = mix(self.diagonal(), other.diagonal());
        let second = match (self.covariance(), other.covariance()) {
            (Some(x), Some(y)) => {
                let mut covariance = mix(x, y);
                // Two sets of inputs about different means spread further than each of them does about its own.
                self.add_spread(other, a * b, &mut covariance);
                SecondMoment::Full { covariance }
            }
            _ => match (self.cut_to(other)?, other.cut_to(self)?) {
                (Some((rank_a, x)), Some((rank_b, y))) => {
                    let rank = rank_a.max(rank_b);
                    // `[√a·F_A, √b·F_B]` times its transpose is the mixture exactly; only the cut to
                    // `rank` loses something.
                    let joined = side_by_side((rank_a, &x, a.sqrt()), (rank_b, &y, b.sqrt()));
                    let values = reduced_factor(joined.as_ref(), rank)?;
                    SecondMoment::Factor { rank, values }
                }
                _ => SecondMoment::Diagonal,
            },
        };
        let merged = Self::new(count, mean, diagonal, second)?;
        match self.largest().zip(other.largest()) {
            Some((a, b)) => merged.with_largest(a.max(b)),
            None => Ok(merged),
        }
    }

    /// Adds `weight · δδᵀ`, δ the difference of the means.
    fn add_spread(&self, other: &Self, weight: f64, covariance: &mut [f32]) {
        let means = self.mean().unwrap_or_default().iter().zip(other.mean().unwrap_or_default());
        let delta: Vec<f64> = means.map(|(&a, &b)| f64::from(b) - f64::from(a)).collect();
        for (row, &left) in covariance.chunks_exact_mut(delta.len()).zip(&delta) {
            for (value, &right) in row.iter_mut().zip(&delta) {
                *value = (f64::from(*value) + weight * left * right) as f32;
            }
        }
    }

    /// Returns rank and factor of this layer as they go together with `other`'s: a whole matrix is cut
    /// to the other's rank. `None` for a diagonal.
    fn cut_to(&self, other: &Self) -> Result<Option<(usize, Vec<f32>)>, Kind> {
        match (self.second(), other.second()) {
            (SecondMoment::Factor { rank, values }, _) => Ok(Some((*rank, values.clone()))),
            (SecondMoment::Full { .. }, SecondMoment::Factor { rank, .. }) => {
                let matrix = self.second_moment_matrix();
                Ok(Some((*rank, leading_factor(&matrix, self.columns(), *rank)?)))
            }
            (SecondMoment::Full { .. } | SecondMoment::Diagonal, _) => Ok(None),
        }
    }
}

/// Makes `[x·scale_x, y·scale_y]` from (columns, row-major values, scale).
fn side_by_side(x: (usize, &[f32], f64), y: (usize, &[f32], f64)) -> faer::Mat<f64> {
    let rows = x.1.len() / x.0;
    faer::Mat::from_fn(rows, x.0 + y.0, |row, column| {
        let (columns, values, scale, column) =
            if column < x.0 { (x.0, x.1, x.2, column) } else { (y.0, y.1, y.2, column - x.0) };
        f64::from(values[row * columns + column]) * scale
    })
}

/// Adds two counts, which are stored as I64.
fn added(a: u64, b: u64) -> Result<u64, Kind> {
    let sum = a.checked_add(b).filter(|&sum| i64::try_from(sum).is_ok());
    sum.ok_or(Kind::TooManySamples { a, b })
}
