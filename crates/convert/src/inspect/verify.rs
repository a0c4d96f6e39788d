use std::num::NonZeroUsize;
use std::path::Path;

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::inspect::comparison::{Comparison, Outcome, finding};
use crate::inspect::outputs::Outputs;
use crate::inspect::verification::{Biases, Verification};
use crate::plan::Provenance;
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::run::pool::map_in_order;
use crate::source::Source;
use crate::source::StatisticsFile;

/// Compares a converted file with its original: structure, untouched tensors, error of each layer.
///
/// # Errors
/// When a file cannot be read or the watcher says stop; a defect of the converted file is a
/// [`Finding`](crate::inspect::Finding).
pub fn verify(
    original: &Path,
    converted: &Path,
    biases: Biases,
    statistics: Option<&StatisticsFile>,
    threads: NonZeroUsize,
    watch: &dyn Watch,
) -> Result<Verification, ConvertError> {
    let original_path = original;
    let converted_file = Source::open(converted)?;
    let original = Source::open_original_of(&converted_file, original)?;
    let made = Provenance::read(converted_file.checkpoint.metadata());
    let outputs = match statistics {
        Some(file) => {
            let recipe = made.as_ref().and_then(|made| made.recipe.clone().check().ok());
            Some(Outputs::of(file, &original, recipe)?)
        }
        None => None,
    };
    let comparison = Comparison { original, converted: converted_file, biases, outputs };
    // 1. Defects that show without reading any weight.
    let mut findings = comparison.structure();
    let before = &comparison.original.stored;
    let original_layers = before.layers.len() + before.foreign.len();
    let mut layers = vec![];
    let mut identical_tensors = 0;
    let mut removed_names = vec![];
    // 2. Every tensor, by several threads; outcomes come in the order of the file.
    let tensors = comparison.original.checkpoint.tensors();
    let bytes = tensors.iter().map(TensorHeader::byte_len).sum();
    notice(watch, Event::Phase { name: Phase::Comparing, tensors: tensors.len(), bytes })?;
    let outcomes = map_in_order(tensors, threads, |header, _| {
        let outcome = comparison.compare(header)?;
        notice(watch, Event::Advanced { bytes: header.byte_len() })?;
        Ok::<_, ConvertError>(outcome)
    });
    for outcome in outcomes? {
        match outcome {
            Outcome::Identical => identical_tensors += 1,
            Outcome::Removed(name) => removed_names.push(name),
            Outcome::SideTensor | Outcome::AmongDefects => {}
            Outcome::Wrong(finding) => findings.push(finding),
            Outcome::Layer(layer, problem) => {
                findings.extend(problem.map(|problem| finding(&layer.name, problem)));
                layers.push(layer);
            }
        }
    }
    findings.sort();
    Ok(Verification {
        original: original_path.to_owned(),
        converted: converted.to_owned(),
        ok: findings.is_empty(),
        findings,
        identical_tensors,
        removed_names,
        original_layers,
        merged_adapters: made.map(|made| made.recipe.merge_lora).unwrap_or_default(),
        layers,
    })
}
