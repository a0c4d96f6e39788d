use std::num::NonZeroUsize;
use std::path::PathBuf;

use roundwise_compute::Devices;
use roundwise_tensor_file::Overwrite;

use crate::plan::{Limits, Part, Workers};
use crate::recipe::{Recipe, RecipeFile};
use crate::source::StatisticsFile;

/// One conversion.
#[derive(Clone, Debug)]
pub struct Job {
    /// A weight file (safetensors, PyTorch, GGUF), an index of shards, or a folder that holds one.
    pub input: PathBuf,
    /// The file to write, or the folder where there is a [`Limits::shard_bytes`].
    pub output: PathBuf,
    /// The recipe.
    pub recipe: Recipe,
    /// Tensors in flight at once. Does not change the output.
    pub threads: NonZeroUsize,
    /// The part of the model that is made, if not all of it. [`merge`](crate::run::merge::merge) puts parts together.
    pub part: Option<Part>,
    /// Limits of files and memory.
    pub limits: Limits,
    /// Devices for learned rounding; several share the matrices.
    pub devices: Devices,
    /// Statistics of the layers' inputs, for methods that look at them.
    pub statistics: Option<StatisticsFile>,
    /// Whether the unfinished output of an earlier run is discarded instead of continued.
    pub starts_over: bool,
    /// Whether an existing output is replaced.
    pub overwrite: Overwrite,
    /// Whether the output is read again before it gets its name.
    pub verifies: bool,
    /// Whether the report is to hold hashes of the input.
    pub hash_input: bool,
}

impl Job {
    /// Returns a conversion with defaults for everything else: one thread, the best device, a new
    /// output that is read again.
    pub fn new(input: impl Into<PathBuf>, output: impl Into<PathBuf>, recipe: Recipe) -> Self {
        Self {
            input: input.into(),
            output: output.into(),
            recipe,
            threads: NonZeroUsize::MIN,
            devices: Devices::default(),
            statistics: None,
            starts_over: false,
            overwrite: Overwrite::Refuse,
            verifies: true,
            hash_input: false,
            limits: Limits::default(),
            part: None,
        }
    }

    /// Returns what is read beside the input: adapters and statistics.
    pub fn side_files(&self) -> impl Iterator<Item = &PathBuf> {
        let adapters = self.recipe.adapters().iter().map(|(path, _)| path);
        adapters.chain(self.statistics.iter().map(|file| &file.path))
    }

    /// Returns whether both can be made from one reading of their input.
    pub(crate) fn is_made_with(&self, other: &Self) -> bool {
        let common = |job: &Self| {
            // Schemes and layouts may differ: neither changes what is read, nor what a search finds
            // out first.
            let recipe = RecipeFile {
                scheme: None,
                layout: None,
                program: None,
                ..job.recipe.file().clone()
            };
            let files = (job.input.clone(), job.statistics.clone());
            let switches = (job.starts_over, job.overwrite, job.verifies, job.hash_input);
            (recipe, files, job.threads, job.limits, job.devices.clone(), switches)
        };
        // Parts are balanced by what their schemes cost, and would not be of the same tensors.
        let is_whole = self.part.is_none() && other.part.is_none();
        std::ptr::eq(self, other) || (is_whole && common(self) == common(other))
    }

    /// Returns the limits of its output, which for servers is a folder.
    pub(crate) fn output_limits(&self) -> Limits {
        self.limits.for_recipe(&self.recipe)
    }

    /// Returns whether the output names the statistics it was made with.
    pub(crate) fn tells_statistics(&self) -> bool {
        self.recipe.tells_provenance() || self.part.is_some()
    }

    /// Returns the threads and devices that work on the tensors.
    pub(crate) fn workers(&self) -> Workers {
        Workers { threads: self.threads, devices: self.devices.named().len() }
    }
}
