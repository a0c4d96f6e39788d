use std::num::NonZeroUsize;
use std::path::PathBuf;

use roundwise_compute::{Device, Devices};
use roundwise_tensor_file::Overwrite;
use serde::{Deserialize, Serialize};

use crate::plan::Limits;
use crate::recipe::complaint::{Complaint, RecipeError};
use crate::recipe::{Recipe, Rounding};
use crate::run::job::Job;
use crate::source::StatisticsFile;

/// How a job runs, as it is typed; what is left out has its default. It says nothing about what the
/// output is: that is said by a [`RecipeFile`](crate::recipe::RecipeFile).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunFile {
    /// Tensors in flight at once. Default all cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroUsize>,
    /// Most bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Most bytes of tensors in a file; the output is a folder then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_bytes: Option<u64>,
    /// Where learned rounding is computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Statistics of the layers' inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<PathBuf>,
    /// Whether statistics that fit no layer are passed over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_partial_statistics: bool,
    /// Whether the output is read again before it gets its name. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifies: Option<bool>,
    /// Whether the unfinished output of an earlier run is thrown away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub starts_over: bool,
    /// Rank of the adapter that the leading part of the error is written as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract_error_lora: Option<NonZeroUsize>,
}

impl RunFile {
    /// More threads than any machine has cores would only take its memory.
    pub const MOST_THREADS: usize = 1024;

    /// Returns the number of tensors in flight at once.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }

    /// Returns the limits of files and memory.
    pub fn limits(&self) -> Limits {
        Limits { shard_bytes: self.shard_bytes, memory_bytes: self.memory_bytes }
    }

    /// Returns the statistics, if any are named.
    pub fn statistics(&self) -> Option<StatisticsFile> {
        let path = self.statistics.clone()?;
        Some(StatisticsFile { path, allow_partial: self.allow_partial_statistics })
    }

    /// Returns the devices that learned rounding is computed on.
    ///
    /// # Errors
    /// A complaint about a text that names no devices.
    pub fn devices(&self) -> Result<Devices, RecipeError> {
        let Some(text) = &self.device else { return Ok(Devices::default()) };
        text.parse().map_err(|error: roundwise_compute::ComputeError| {
            Complaint::about("device", error.to_string()).into()
        })
    }

    /// Checks each setting by itself.
    ///
    /// # Errors
    /// A complaint for each that is out of its range.
    pub fn check(&self) -> Result<(), RecipeError> {
        let mut complaints = vec![];
        if self.threads.is_some_and(|threads| threads.get() > Self::MOST_THREADS) {
            let problem = format!("expected a number from 1 to {}", Self::MOST_THREADS);
            complaints.push(Complaint::about("threads", problem));
        }
        for (key, bytes) in
            [("limits.memory_bytes", self.memory_bytes), ("limits.shard_bytes", self.shard_bytes)]
        {
            if bytes == Some(0) {
                complaints.push(Complaint::about(key, "expected a size above 0"));
            }
        }
        complaints.extend(self.devices().err().into_iter().flat_map(|error| error.complaints));
        match complaints.is_empty() {
            true => Ok(()),
            false => Err(RecipeError { complaints }),
        }
    }

    /// Checks the settings against what is to be made.
    ///
    /// # Errors
    /// As [`refuse_idle`].
    pub fn check_for(&self, recipe: &Recipe) -> Result<(), RecipeError> {
        refuse_idle(recipe, &self.devices()?, self.extract_error_lora)
    }

    /// Returns the job that runs so.
    ///
    /// # Errors
    /// As [`RunFile::devices`].
    pub fn job(
        &self,
        input: impl Into<PathBuf>,
        output: impl Into<PathBuf>,
        recipe: Recipe,
        overwrite: Overwrite,
    ) -> Result<Job, RecipeError> {
        Ok(Job {
            threads: self.threads(),
            devices: self.devices()?,
            statistics: self.statistics(),
            limits: self.limits(),
            overwrite,
            starts_over: self.starts_over,
            verifies: self.verifies.unwrap_or(true),
            ..Job::new(input, output, recipe)
        })
    }
}

/// Refuses settings that would change nothing.
///
/// - `error_lora`: rank of the adapter that the leading part of the error is written as
///
/// # Errors
/// A complaint about a device for nearest codes, which are chosen on the CPU whatever is named, or an
/// adapter of the error where nothing becomes codes or servers read the output.
pub fn refuse_idle(
    recipe: &Recipe,
    devices: &Devices,
    error_lora: Option<NonZeroUsize>,
) -> Result<(), RecipeError> {
    // `auto` is not a choice of a device, so that it does no harm where none computes.
    let is_here = |device: &Device| matches!(device, Device::Auto | Device::Cpu);
    let is_nearest = recipe.rounding() == Rounding::Nearest;
    if is_nearest && !devices.named().iter().all(is_here) {
        let problem = format!(
            "`{devices}` does not apply to method `nearest`: it computes nothing there\n  method \
             `principal` does"
        );
        return Err(Complaint::about("device", problem).into());
    }
    if error_lora.is_some() && !recipe.stores_codes() {
        let problem = format!("does not apply to scheme `{}`: it stores no codes", recipe.scheme());
        return Err(Complaint::about("extract_error_lora", problem).into());
    }
    if error_lora.is_some() && recipe.layout().is_for_servers() {
        let problem = format!(
            "does not apply to layout `{}`: the adapter is one for ComfyUI, which servers do not load",
            recipe.layout()
        );
        return Err(Complaint::about("extract_error_lora", problem).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::RecipeFile;

    fn complaints(result: Result<(), RecipeError>) -> Vec<String> {
        let complaints = result.err().into_iter().flat_map(|error| error.complaints);
        complaints.map(|complaint| complaint.text().to_string()).collect()
    }

    #[test]
    fn every_setting_out_of_range_is_named() {
        let run = RunFile {
            threads: NonZeroUsize::new(5000),
            memory_bytes: Some(0),
            device: Some("abacus".to_owned()),
            ..RunFile::default()
        };
        let told = complaints(run.check());
        assert_eq!(told[0], "threads: expected a number from 1 to 1024");
        assert_eq!(told[1], "limits.memory_bytes: expected a size above 0");
        assert!(told[2].starts_with("device: ") && told.len() == 3, "{told:?}");
        assert_eq!(RunFile::default().check(), Ok(()));
    }

    #[test]
    fn settings_that_would_change_nothing_are_refused() {
        let recipe = |text: &str| RecipeFile::from_toml(text).unwrap().check().unwrap();
        let device = RunFile { device: Some("cuda:7".to_owned()), ..RunFile::default() };
        let told = complaints(device.check_for(&recipe("")));
        assert!(
            told[0].starts_with("device: `cuda:7` does not apply to method `nearest`"),
            "{told:?}"
        );
        assert_eq!(device.check_for(&recipe("method = 'principal'")), Ok(()));
        let lora = RunFile { extract_error_lora: NonZeroUsize::new(8), ..RunFile::default() };
        let told = complaints(lora.check_for(&recipe("scheme = 'bf16'")));
        assert!(told[0].starts_with("extract_error_lora: does not apply to scheme"), "{told:?}");
        assert_eq!(lora.check_for(&recipe("scheme = 'fp8'")), Ok(()));
    }
}
