use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use roundwise_compute::Matrix;
use roundwise_grid::{E4m3, Grid};
use roundwise_rounding::{
    BiasCorrection, Inputs, Objective, OutputMoment, RoundingError, RowInputs, SecondMoment, Sides,
};
use roundwise_stats::{
    Curvature, Fit, LayerStatistics, OutputGradient, Statistics, StatsErrorKind, layers_of,
};
use roundwise_tensor_file::PlainFile;

use crate::error::ConvertError;
use crate::recipe::{Command, Complaint, InputScales, Purpose, Recipe, Rounding, Setting, Text};
use crate::source::experts::around_expert;
use crate::source::hash::hash;
use crate::source::source::Source;

/// Statistics of the inputs of a model's layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsFile {
    /// `*.stats.safetensors`, or an importance matrix of llama.cpp.
    pub path: PathBuf,
    /// Whether statistics that fit no layer are passed over, instead of refused as those of another
    /// model.
    pub allow_partial: bool,
}

/// Statistics of the inputs of a file's layers.
pub struct LayerInputs {
    statistics: Statistics,
    /// Modules of the statistics that are of a layer: several where the layer was joined from several,
    /// which read the same.
    modules: BTreeMap<String, Vec<String>>,
    file: PlainFile,
    /// Whether inputs count as they are, even where more is known of them.
    is_plain: bool,
    /// Whether the gradients of outputs are looked at beyond their mean square.
    looks_at_outputs: bool,
    /// Largest magnitudes of the inputs of all experts in a place, which those without statistics there share: reading
    /// the experts again for each of them would take hundreds of megabytes every time.
    largest_beside: Mutex<BTreeMap<(String, String), Option<f32>>>,
}

/// Statistics of the inputs of a layer: the most telling ones that a file has.
#[derive(Clone, Debug)]
pub(crate) struct KnownInputs {
    /// For all rows.
    pub(crate) inputs: Inputs,
    /// For some rows in place of these.
    pub(crate) row_inputs: Vec<RowInputs>,
    /// The second moment that counts, for at least some rows.
    pub(crate) moment: UsedMoment,
    /// H of all rows as they are, where gradients are known and the inputs above are others.
    pub(crate) plain: Option<Inputs>,
    /// ḡ, the mean square of the gradients of its outputs, where they are known and not all 0.
    pub(crate) gradient: Option<f32>,
    /// The second moment of these gradients, where it is known and looked at.
    pub(crate) outputs: Option<OutputMoment>,
}

/// A second moment that rounding looks at.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum UsedMoment {
    /// H, of the inputs as they are.
    Inputs,
    /// H_mix, of the inputs as attention mixes them.
    Mixed,
    /// H_w, of the inputs weighed with the gradients of the outputs.
    Weighted,
}

impl LayerInputs {
    /// Opens statistics and finds the layers that they are of.
    ///
    /// # Errors
    /// When the file cannot be read, or its statistics are of another model.
    pub(crate) fn open(file: &StatisticsFile, source: &Source) -> Result<Self, ConvertError> {
        let statistics = Statistics::open(&file.path)?;
        let (fit, modules) = fit(&statistics, source);
        // A file that fits no layer is of another model, whatever is allowed to be left over.
        if !file.allow_partial {
            fit.require_all()?;
        } else if modules.is_empty() && !statistics.layers().is_empty() {
            let problem = Text::from(
                "holds statistics of another model: not one of its layers is in this\n  ",
            ) + Command::Collector
                + " collects them from this one";
            return Err(ConvertError::misfit(&file.path, problem));
        }
        let file = PlainFile::open(&file.path).map_err(ConvertError::File)?;
        let inputs = Self {
            statistics,
            modules,
            file,
            is_plain: false,
            looks_at_outputs: false,
            largest_beside: Mutex::default(),
        };
        inputs.check_joined()?;
        Ok(inputs)
    }

    /// Opens the statistics that a recipe looks at, if it looks at any.
    ///
    /// # Errors
    /// Also when the recipe needs statistics and there are none, or the other way round.
    pub fn for_recipe(
        recipe: &Recipe,
        file: Option<&StatisticsFile>,
        source: &Source,
    ) -> Result<Option<Self>, ConvertError> {
        let setting = Setting::new("statistics");
        match (what_needs_inputs(recipe), file) {
            (Some(_), Some(file)) => Ok(Some(Self::open(file, source)?.seen_by(recipe))),
            (None, None) => Ok(None),
            (Some(what), None) => {
                let needs =
                    format!("{what} needs statistics of the layers' inputs\n  name them with ");
                let name = Text::from(needs) + setting.clone().quoted() + "; ";
                let problem = name + Command::Collector + " prints the program that collects them";
                let complaints = vec![Complaint::about(setting, problem)];
                Err(ConvertError::Misfit { path: source.checkpoint.path().to_owned(), complaints })
            }
            (None, Some(file)) => {
                let problem = match recipe.purpose() {
                    Purpose::Edit => {
                        let input_scale = Setting::new("edit.input_scale").quoted();
                        Text::from("only activation scales (") + input_scale + ") need statistics"
                    }
                    _ => Text::from(format!(
                        "method `{}` does not look at real inputs\n  method `activations` does; with \
                         statistics it is the default",
                        recipe.method()
                    )),
                };
                let complaints = vec![Complaint::about(setting, problem)];
                Err(ConvertError::Misfit { path: file.path.clone(), complaints })
            }
        }
    }

    /// Returns the statistics with what a recipe looks at.
    pub(crate) fn seen_by(self, recipe: &Recipe) -> Self {
        // A bias takes up the error at the mean of the inputs as they are, so that these count.
        let is_plain = recipe.bias_correction() == BiasCorrection::Inputs;
        let looks_at_outputs = match recipe.rounding() {
            Rounding::Learned(options) => options.sides == Sides::Both,
            Rounding::Nearest => false,
        };
        Self { is_plain, looks_at_outputs, ..self }
    }

    /// Tells files of statistics apart without reading them.
    pub(crate) fn file_fingerprint(&self) -> String {
        self.file.fingerprint()
    }

    /// Returns the BLAKE3 of the file, as `b3sum` prints it.
    ///
    /// # Errors
    /// When it cannot be read, or the watcher says stop.
    pub(crate) fn file_hash(
        &self,
        go_on: &dyn Fn() -> Result<(), ConvertError>,
    ) -> Result<String, ConvertError> {
        let read = |offset, buffer: &mut [u8]| self.file.read_into(offset, buffer);
        hash(self.file.bytes(), read, go_on)
    }

    /// Returns whether anything is known of the inputs of a layer.
    pub(crate) fn has(&self, layer: &str) -> bool {
        self.modules.contains_key(layer)
    }

    /// Returns the largest magnitude of a layer's inputs; where the statistics do not hold it, what
    /// inputs hardly reach: eight times the largest root mean square of a column. An expert that no input reached
    /// has that of the experts beside it, of which servers take the largest for all.
    ///
    /// # Errors
    /// When nothing is known of them, or the numbers cannot be read.
    pub(crate) fn largest_input(&self, layer: &str) -> Result<f32, ConvertError> {
        let own = self.statistics_of(layer)?.map(|statistics| largest_of(&statistics));
        let found = match own {
            Some(largest) => Some(largest),
            None => self.largest_beside(layer)?,
        };
        found.ok_or_else(|| {
            let problem = format!(
                "holds no statistics of layer `{layer}`, which is to get a scale of its inputs\n  name statistics that \
                 have them, or keep the layer ("
            );
            let problem = Text::from(problem) + Setting::new("keep") + ")";
            ConvertError::misfit(self.statistics.path(), problem)
        })
    }

    /// Returns the largest magnitude of the inputs of all experts in the place of a layer, where any is known.
    fn largest_beside(&self, layer: &str) -> Result<Option<f32>, ConvertError> {
        let Some(place) = around_expert(layer) else { return Ok(None) };
        // Held while they are read, so that no other thread reads them, too.
        let mut known = self.largest_beside.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (place.0.to_owned(), place.1.to_owned());
        if let Some(largest) = known.get(&key) {
            return Ok(*largest);
        }
        let mut largest = None::<f32>;
        for other in self.modules.keys().filter(|other| around_expert(other) == Some(place)) {
            if let Some(statistics) = self.statistics_of(other)? {
                let found = largest_of(&statistics);
                largest = Some(largest.map_or(found, |largest| largest.max(found)));
            }
        }
        known.insert(key, largest);
        Ok(largest)
    }

    /// Returns the statistics of the inputs of a layer as they are, if there are any.
    ///
    /// # Errors
    /// When the numbers cannot be read, or contradict each other.
    pub(crate) fn plain_of_layer(&self, layer: &str) -> Result<Option<Inputs>, ConvertError> {
        let statistics = self.statistics_of(layer)?;
        statistics.map(|statistics| self.converted(layer, &statistics, None)).transpose()
    }

    /// Returns the most telling statistics of the inputs of a layer: weighed with gradients where the
    /// file has these, else as attention mixes them for the rows that are values, else as they are.
    ///
    /// # Errors
    /// When the numbers cannot be read, or contradict each other.
    pub(crate) fn of_layer(&self, layer: &str) -> Result<Option<KnownInputs>, ConvertError> {
        let Some(module) = self.single_module(layer) else {
            // Parts of a layer that was joined have the same inputs, but not the same gradients.
            let plain = self.plain_of_layer(layer)?;
            return Ok(plain.map(|inputs| KnownInputs::plain(inputs, None, None)));
        };
        let found = self.gradient_of(layer)?;
        let gradient = found.as_ref().map(|gradient| gradient.mean_square);
        let outputs = found.as_ref().and_then(|gradient| gradient.outputs.as_ref());
        let outputs = outputs.filter(|_| self.looks_at_outputs);
        let outputs = outputs.map(|outputs| self.output_moment(layer, outputs)).transpose()?;
        let weighted = found.and_then(|gradient| gradient.weighted);
        if let Some(weighted) = weighted.filter(|_| !self.is_plain) {
            let mean = self.mean_of(layer)?;
            let inputs = self.converted(layer, &weighted, mean)?;
            return Ok(Some(KnownInputs {
                inputs,
                row_inputs: vec![],
                moment: UsedMoment::Weighted,
                plain: None,
                gradient,
                outputs,
            }));
        }
        let Some(plain) = self.plain_of_layer(layer)? else { return Ok(None) };
        let mixed = if self.is_plain { None } else { self.statistics.mixed(module)? };
        let Some(mixed) = mixed else {
            return Ok(Some(KnownInputs::plain(plain, gradient, outputs)));
        };
        // Attention mixes the second moment; the mean stays that of the inputs.
        let mean = Some(plain.mean().to_vec());
        let inputs = self.converted(layer, &mixed.moment, mean)?;
        let known = |inputs, row_inputs| KnownInputs {
            inputs,
            row_inputs,
            moment: UsedMoment::Mixed,
            plain: None,
            gradient,
            outputs: outputs.clone(),
        };
        // All rows are values: H_mix counts for the layer, and H is kept for the predicted loss
        // alone.
        if mixed.rows.is_empty() {
            let plain = gradient.map(|_| plain);
            return Ok(Some(KnownInputs { plain, ..known(inputs, vec![]) }));
        }
        let of_rows = mixed.rows.iter().map(|&[first, end]| RowInputs {
            rows: first as usize..end as usize,
            inputs: inputs.clone(),
        });
        Ok(Some(known(plain, of_rows.collect())))
    }

    /// Returns what is known of the gradients of a layer's outputs, if it can be used: gradients that are
    /// not finite, or all 0, say nothing.
    ///
    /// # Errors
    /// When the numbers cannot be read, or contradict each other otherwise.
    pub(crate) fn gradient_of(&self, layer: &str) -> Result<Option<OutputGradient>, ConvertError> {
        let Some(module) = self.single_module(layer) else { return Ok(None) };
        match self.statistics.gradient(module) {
            Ok(gradient) => Ok(gradient.filter(|gradient| gradient.mean_square > 0.0)),
            // Gradients that cannot be used are no reason to refuse the statistics of the layer's inputs.
            Err(error) if matches!(error.kind(), StatsErrorKind::NotFinite { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the predictions that gradients are of, where there are any.
    pub fn curvature(&self) -> Option<Curvature> {
        self.statistics.curvature()
    }

    /// Returns the mean of the inputs of a layer.
    fn mean_of(&self, layer: &str) -> Result<Option<Vec<f32>>, ConvertError> {
        Ok(self.statistics_of(layer)?.and_then(|it| it.mean().map(<[f32]>::to_vec)))
    }

    /// Returns the module whose statistics are those of a layer, unless it was joined from several.
    fn single_module(&self, layer: &str) -> Option<&str> {
        match &self.modules.get(layer)?[..] {
            [module] => Some(module),
            _ => None,
        }
    }

    /// Returns the second moment of gradients as a search takes it.
    fn output_moment(
        &self,
        layer: &str,
        moment: &LayerStatistics,
    ) -> Result<OutputMoment, ConvertError> {
        let rows = moment.columns();
        let (rank, values) =
            moment.factor().map_or((0, vec![]), |(_, rank, values)| (rank, values.to_vec()));
        let found = Matrix::new(rows, rank, values).map_err(RoundingError::from);
        found.and_then(|factor| OutputMoment::new(factor, moment.residual())).map_err(|source| {
            ConvertError::Rounding {
                path: self.statistics.path().to_owned(),
                tensor: layer.to_owned(),
                source,
            }
        })
    }

    /// Returns statistics as a search takes them.
    ///
    /// - `mean`: in place of that of the statistics
    fn converted(
        &self,
        layer: &str,
        statistics: &LayerStatistics,
        mean: Option<Vec<f32>>,
    ) -> Result<Inputs, ConvertError> {
        inputs(statistics, mean).map_err(|source| ConvertError::Rounding {
            path: self.statistics.path().to_owned(),
            tensor: layer.to_owned(),
            source,
        })
    }

    /// Returns the statistics of a layer; of one that was joined, those of its first part.
    fn statistics_of(&self, layer: &str) -> Result<Option<LayerStatistics>, ConvertError> {
        let module = self.modules.get(layer).and_then(|modules| modules.first());
        Ok(module.map(|module| self.statistics.layer(module)).transpose()?)
    }

    /// Refuses statistics in which the parts of a layer that is one here have other inputs.
    fn check_joined(&self) -> Result<(), ConvertError> {
        for (layer, modules) in self.modules.iter().filter(|(_, modules)| modules.len() > 1) {
            let first = self.statistics.layer(&modules[0])?;
            for other in &modules[1..] {
                let found = self.statistics.layer(other)?;
                // Count, mean and diagonal tell runs apart; covariances need not be compared.
                let is_same = found.count() == first.count()
                    && found.mean() == first.mean()
                    && found.diagonal() == first.diagonal();
                if !is_same {
                    let problem = format!(
                        "`{}` and `{other}` are joined to `{layer}` and have other inputs\n  collect \
                         statistics of all layers from the same runs",
                        modules[0]
                    );
                    return Err(ConvertError::misfit(self.statistics.path(), problem));
                }
            }
        }
        Ok(())
    }
}

/// Finds the modules that are statistics of a file's layers, under whichever of the layers' names more
/// of them fit.
fn fit(statistics: &Statistics, source: &Source) -> (Fit, BTreeMap<String, Vec<String>>) {
    let mut layers = layers_of(&source.checkpoint);
    let own = Fit::of(statistics, &layers);
    // Other names are looked for only where statistics are left over under the file's own.
    let names = match own.misfits() {
        [] => vec![],
        _ => source.other_names(),
    };
    layers.extend(names.iter().map(|name| name.other.clone()));
    let other = Fit::of(statistics, &layers);
    let (fit, names) =
        // The file's own names count where others fit no better.
        if other.pairs().len() > own.pairs().len() { (other, names) } else { (own, vec![]) };
    let mut modules = BTreeMap::<String, Vec<String>>::new();
    for (layer, module) in fit.pairs() {
        let meant = names.iter().filter(|name| name.other.module == *layer);
        let meant: Vec<&String> = meant.map(|name| &name.layer).collect();
        let meant = if meant.is_empty() { vec![layer] } else { meant };
        meant.into_iter().for_each(|layer| {
            modules.entry(layer.clone()).or_default().push(module.clone());
        });
    }
    (fit, modules)
}

/// Returns the setting that cannot do without statistics.
fn what_needs_inputs(recipe: &Recipe) -> Option<String> {
    if !recipe.edit().input_scale.is_empty() {
        return Some("an activation scale".to_owned());
    }
    if recipe.inputs() == InputScales::Static {
        return Some("a stored scale of inputs".to_owned());
    }
    match (recipe.rounding(), recipe.bias_correction()) {
        (Rounding::Learned(options), _)
            if matches!(options.objective, Objective::Activations { .. }) =>
        {
            Some(format!("method `{}`", recipe.method()))
        }
        (_, BiasCorrection::Inputs) => Some("bias correction `inputs`".to_owned()),
        _ => None,
    }
}

impl KnownInputs {
    fn plain(inputs: Inputs, gradient: Option<f32>, outputs: Option<OutputMoment>) -> Self {
        let (row_inputs, moment) = (vec![], UsedMoment::Inputs);
        Self { inputs, row_inputs, moment, plain: None, gradient, outputs }
    }
}

/// Returns the statistics of one layer as rounding takes them, as they are.
///
/// # Errors
/// When they contradict each other.
pub fn inputs_of(layer: &LayerStatistics) -> Result<Inputs, RoundingError> {
    inputs(layer, None)
}

fn inputs(layer: &LayerStatistics, mean: Option<Vec<f32>>) -> Result<Inputs, RoundingError> {
    let columns = layer.columns();
    // Importance matrices have no mean; then H is the moment about 0.
    let own = layer.mean().map_or_else(|| vec![0.0; columns], <[f32]>::to_vec);
    // The most telling first: the whole matrix, one of low rank, the diagonal alone.
    let second_moment = match (layer.covariance(), layer.factor()) {
        (Some(_), _) => {
            SecondMoment::Full(Matrix::new(columns, columns, layer.second_moment_matrix())?)
        }
        (None, Some((_, rank, values))) => SecondMoment::LowRank {
            factor: Matrix::new(columns, rank, values.to_vec())?,
            residual: layer.residual(),
        },
        (None, None) => SecondMoment::of_diagonal(&own, layer.diagonal()),
    };
    Inputs::new(mean.unwrap_or(own), second_moment, layer.count())
}

/// Returns the largest magnitude of inputs, or what they hardly reach.
fn largest_of(statistics: &LayerStatistics) -> f32 {
    statistics.largest().unwrap_or_else(|| {
        // The scale is one for the layer, so that its largest column decides.
        let largest = statistics.diagonal().iter().fold(0.0_f32, |a, &b| a.max(b));
        REACH * largest.sqrt()
    })
}

/// How many times the largest root mean square of a column an activation may be before it is clipped.
/// Older statistics hold no largest input. FP8 has the same relative precision over 15 powers of two, so
/// that room above costs next to nothing, and clipping costs much.
const REACH: f32 = 8.0;

/// Returns the activation scale of a layer whose inputs have at most this magnitude.
/// ComfyUI divides inputs by it before it rounds them to E4M3. It is 1 for inputs of zeros.
pub(crate) fn input_scale(largest: f32) -> f32 {
    match largest / E4m3::MAX {
        // Neither 0 nor a subnormal number, whose reciprocal may be infinite.
        scale if scale.is_normal() => scale,
        _ => 1.0,
    }
}
