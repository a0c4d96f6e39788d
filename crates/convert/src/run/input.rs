use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use roundwise_compute::Engines;
use roundwise_rounding::Options;
use roundwise_tensor_file::name_one_file;

use crate::error::ConvertError;
use crate::plan::run_facts::RunFacts;
use crate::plan::same_model::same_model;
use crate::plan::{NotFinite, Plan, PlanRequest};
use crate::recipe::{Recipe, Rounding};
use crate::report::watch::{Event, Watch, notice};
use crate::run::job::Job;
use crate::source::hash::hash_file;
use crate::source::layer_inputs::{KnownInputs, LayerInputs, input_scale};
use crate::source::{FileHash, Source};

/// The input of one or several outputs: its weights, statistics of its layers' inputs, and the
/// engines that compute searches.
pub(crate) struct Input {
    pub(crate) source: Source,
    statistics: Option<LayerInputs>,
    /// Options of the search, and the engines it runs on; `None` for nearest codes.
    pub(crate) search: Option<(Options, Engines)>,
    /// Of all outputs, which differ in schemes and layouts alone.
    pub(crate) recipe: Recipe,
    /// Hash of every file, once it is known.
    hashes: Vec<OnceLock<FileHash>>,
    statistics_hash: Option<String>,
    /// Adapters and statistics.
    side_files: Vec<PathBuf>,
}

impl Input {
    /// Opens weights and statistics, reads their headers, and makes devices ready where the method
    /// computes on some.
    ///
    /// # Errors
    /// Errors of the files, and when a device that was asked for cannot be used.
    pub(crate) fn open(job: &Job) -> Result<Self, ConvertError> {
        let source = Source::open_with(&job.input, &job.recipe)?;
        let statistics = LayerInputs::for_recipe(&job.recipe, job.statistics.as_ref(), &source)?;
        let search = match job.recipe.rounding() {
            Rounding::Nearest => None,
            Rounding::Learned(options) => Some((options, job.devices.resolve()?)),
        };
        let hashes = vec![OnceLock::new(); source.checkpoint.files().len()];
        let recipe = job.recipe.clone();
        let side_files = job.side_files().cloned().collect();
        Ok(Self { source, statistics, search, recipe, hashes, statistics_hash: None, side_files })
    }

    /// Refuses an output that is a file of the input.
    ///
    /// # Errors
    /// [`ConvertError::OutputIsInput`].
    pub(crate) fn refuse_as_output(&self, output: &Path) -> Result<(), ConvertError> {
        let is_beside = self.side_files.iter().any(|file| name_one_file(file, output));
        match is_beside || self.source.checkpoint.same_file_as(output) {
            true => Err(ConvertError::OutputIsInput { path: output.to_owned() }),
            false => Ok(()),
        }
    }

    /// Decides what becomes of every tensor, and whether an output may be made so.
    ///
    /// # Errors
    /// As [`Plan::decide`], [`Plan::check_purpose`] and [`same_model`]; [`ConvertError::Misfit`] for
    /// a layer that is to get an activation scale and has no statistics.
    pub(crate) fn plan(&self, job: &Job, not_finite: &NotFinite) -> Result<Plan, ConvertError> {
        let plan = Plan::decide(&PlanRequest {
            source: &self.source,
            recipe: &job.recipe,
            statistics: self.statistics.as_ref(),
            workers: job.workers(),
            limits: job.limits,
            part: job.part,
            not_finite,
        })?;
        plan.check_purpose(&self.source)?;
        // A program must still recognise the model, by the names of all parts together.
        let specs = plan.specs_of_all_parts();
        let after = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
        same_model(&job.output, plan.layout, &self.source, &after.collect())?;
        // Made only to see that it can be: the header has a limit, and no name may be there twice.
        plan.manifest()?;
        // Statistics that lack a layer are refused now, not after hours of work.
        for planned in &plan.tensors {
            if planned.input_scale_spec().is_some() {
                self.largest_input_of(planned.layer())?;
            }
        }
        Ok(plan)
    }

    /// Returns what is known of the inputs of a layer, if anything.
    ///
    /// # Errors
    /// When the numbers cannot be read, or contradict each other.
    pub(crate) fn inputs_of(&self, layer: &str) -> Result<Option<KnownInputs>, ConvertError> {
        self.statistics.as_ref().map_or(Ok(None), |statistics| statistics.of_layer(layer))
    }

    /// Returns the statistics of the layers' inputs.
    pub(crate) fn statistics(&self) -> Option<&LayerInputs> {
        self.statistics.as_ref()
    }

    /// Returns the activation scale of a layer, from statistics of its inputs.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] for a layer without statistics.
    pub(crate) fn input_scale_of(&self, layer: &str) -> Result<f32, ConvertError> {
        Ok(input_scale(self.largest_input_of(layer)?))
    }

    /// Returns the largest magnitude of a layer's inputs, by statistics of them.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] for a layer without statistics.
    pub(crate) fn largest_input_of(&self, layer: &str) -> Result<f32, ConvertError> {
        let inputs = self.statistics.as_ref().expect("a recipe with such scales has statistics");
        inputs.largest_input(layer)
    }

    /// Tells files of statistics apart, where there is one.
    pub(crate) fn statistics_fingerprint(&self) -> Option<String> {
        self.statistics.as_ref().map(LayerInputs::file_fingerprint)
    }

    /// Returns the engines that learned rounding is computed on.
    pub(crate) fn engines(&self) -> Option<&Engines> {
        self.search.as_ref().map(|(_, engines)| engines)
    }

    /// Hashes the file of statistics, where its hash is to be recorded.
    ///
    /// # Errors
    /// When it cannot be read, or the watcher says stop.
    pub(crate) fn hash_statistics(&mut self, watch: &dyn Watch) -> Result<(), ConvertError> {
        let hash =
            self.statistics.as_ref().map(|statistics| statistics.file_hash(&|| go_on(watch)));
        self.statistics_hash = hash.transpose()?;
        Ok(())
    }

    /// Lists the files whose hash is not known yet.
    pub(crate) fn files_to_hash(&self) -> impl Iterator<Item = usize> {
        // An attempt that a NaN has ended may have hashed some of them.
        (0..self.hashes.len()).filter(|&file| self.hashes[file].get().is_none())
    }

    /// Hashes a file.
    ///
    /// # Errors
    /// When it cannot be read, or the watcher says stop.
    pub(crate) fn hash_file(&self, file: usize, watch: &dyn Watch) -> Result<(), ConvertError> {
        let hash = hash_file(&self.source.checkpoint.files()[file], &|| go_on(watch))?;
        // Each file is the task of one thread, so that a hash is never computed for nothing.
        self.hashes[file].get_or_init(|| hash);
        Ok(())
    }

    /// Returns what the run has found out and outputs tell.
    pub(crate) fn facts(&self) -> RunFacts {
        RunFacts {
            input: self.hashes.iter().filter_map(|hash| hash.get().cloned()).collect(),
            statistics: self.statistics_hash.clone(),
            device: self.engines().map(|engines| engines.backend().to_owned()),
        }
    }
}

/// Asks whether to go on. Hashing is no part of the progress, so that 0 bytes are told.
fn go_on(watch: &dyn Watch) -> Result<(), ConvertError> {
    notice(watch, Event::Advanced { bytes: 0 })
}
