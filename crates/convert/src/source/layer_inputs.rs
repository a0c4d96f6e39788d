use roundwise_compute::Matrix;
use roundwise_rounding::{Inputs, Objective, RoundingError, SecondMoment};
use roundwise_stats::{Fit, LayerStatistics, Statistics, layers_of};
use roundwise_tensor_file::PlainFile;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::ConvertError;
use crate::recipe::{Command, Complaint, Purpose, Recipe, Rounding, Setting, Text};
use crate::source::hash::hash;
use crate::source::source::Source;
use roundwise_rounding::BiasCorrection;

/// Statistics of the inputs of a model's layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsFile {
    /// `*.stats.safetensors`, or an importance matrix of llama.cpp.
    pub path: PathBuf,
    /// Whether statistics that fit no layer are passed over, instead of refused as those of another
    /// model.
    pub may_be_partial: bool,
}

/// Statistics of the inputs of a file's layers.
pub struct LayerInputs {
    statistics: Statistics,
    /// Modules of the statistics that are of a layer: several where the layer was joined from several,
    /// which read the same.
    modules: BTreeMap<String, Vec<String>>,
    file: PlainFile,
}

impl LayerInputs {
    /// Opens statistics and finds the layers that they are of.
    ///
    /// # Errors
    /// When the file cannot be read, or its statistics are of another model.
    pub(crate) fn open(file: &StatisticsFile, source: &Source) -> Result<Self, ConvertError> {
        let statistics = Statistics::open(&file.path)?;
        let (fit, modules) = fit(&statistics, source);
        if !file.may_be_partial || modules.is_empty() {
            fit.require_all()?;
        }
        let file = PlainFile::open(&file.path).map_err(ConvertError::File)?;
        let inputs = Self { statistics, modules, file };
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
            (Some(_), Some(file)) => Self::open(file, source).map(Some),
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

    /// Returns the root of the largest `E[x_j²]` of a layer's columns.
    ///
    /// # Errors
    /// When nothing is known of them, or the numbers cannot be read.
    pub(crate) fn largest_rms(&self, layer: &str) -> Result<f32, ConvertError> {
        let Some(statistics) = self.statistics_of(layer)? else {
            let problem = format!(
                "holds no statistics of layer `{layer}`, which is to get an activation scale"
            );
            return Err(ConvertError::misfit(self.statistics.path(), problem));
        };
        let largest = statistics.diagonal().iter().fold(0.0_f32, |a, &b| a.max(b));
        Ok(largest.sqrt())
    }

    /// Returns the statistics of the inputs of a layer, if there are any.
    ///
    /// # Errors
    /// When the numbers cannot be read, or contradict each other.
    pub(crate) fn of_layer(&self, layer: &str) -> Result<Option<Inputs>, ConvertError> {
        let Some(statistics) = self.statistics_of(layer)? else { return Ok(None) };
        let inputs = inputs_of(&statistics).map_err(|source| ConvertError::Rounding {
            path: self.statistics.path().to_owned(),
            tensor: layer.to_owned(),
            source,
        })?;
        Ok(Some(inputs))
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
    let names = match own.misfits() {
        [] => vec![],
        _ => source.other_names(),
    };
    layers.extend(names.iter().map(|name| name.other.clone()));
    let other = Fit::of(statistics, &layers);
    let (fit, names) =
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

/// Returns the statistics of one layer as rounding takes them.
///
/// # Errors
/// When they contradict each other.
pub fn inputs_of(layer: &LayerStatistics) -> Result<Inputs, RoundingError> {
    let columns = layer.columns();
    let mean = layer.mean().map_or_else(|| vec![0.0; columns], <[f32]>::to_vec);
    let second_moment = match (layer.covariance(), layer.factor()) {
        (Some(_), _) => {
            SecondMoment::Full(Matrix::new(columns, columns, layer.second_moment_matrix())?)
        }
        (None, Some((_, rank, values))) => SecondMoment::LowRank {
            factor: Matrix::new(columns, rank, values.to_vec())?,
            residual: layer.residual(),
        },
        (None, None) => SecondMoment::of_diagonal(&mean, layer.diagonal()),
    };
    Inputs::new(mean, second_moment, layer.count())
}

/// How many times the largest root mean square of a column an activation may be before it is clipped.
/// Statistics hold no largest input. FP8 has the same relative precision over 15 powers of two, so
/// that room above costs next to nothing, and clipping costs much.
const REACH: f32 = 8.0;

/// Returns the activation scale of a layer whose columns have at most this root mean square.
/// ComfyUI divides inputs by it before it rounds them to E4M3. It is 1 for inputs of zeros.
pub(crate) fn input_scale(largest_rms: f32) -> f32 {
    const LARGEST_CODE: f32 = 448.0;
    match REACH * largest_rms / LARGEST_CODE {
        scale if scale.is_normal() => scale,
        _ => 1.0,
    }
}
