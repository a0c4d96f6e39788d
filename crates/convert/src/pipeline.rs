use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use roundwise_tensor_file::{Manifest, TensorFileErrorKind, TensorFileWriter, Unfinished};

use crate::gate::check_output;
use crate::hash::hash_plain_file;
use crate::layer_inputs::LayerInputs;
use crate::merge::PartEntry;
use crate::not_finite::{NotFinite, find_not_finite};
use crate::report::{FileHash, Told, Tool};
use crate::rounder::Rounder;
use crate::run::Run;
use crate::same_model::same_model;
use crate::shared_scales::SharedScales;
use crate::watch::notice;
use crate::workshop::{Stop, Workshop};
use crate::{
    ConvertError, Event, Job, Plan, Purpose, Report, Rounding, Source, TensorReport, Watch,
};

/// Converts one file: read, plan, round, lay out, write, report.
///
/// The output appears under its name only when it is complete and on disk. What an earlier run of the
/// same job has finished is not done again. A weight that holds a NaN or an infinity is found only
/// when it is read: it is then kept, and the work begins again with a new plan.
///
/// # Errors
/// As [`Plan::decide`]; [`ConvertError::OutputIsInput`], [`ConvertError::NothingToConvert`],
/// [`ConvertError::NothingInCodes`],
/// [`ConvertError::OtherRun`], [`ConvertError::Stopped`], and whatever the files answer. Where
/// something was finished before, it is inside [`ConvertError::Unfinished`].
pub fn convert(job: &Job, watch: &dyn Watch) -> Result<Report, ConvertError> {
    let started = Instant::now();
    let source = open_source(job)?;
    let rounder = Rounder::new(job, &source, watch)?;
    let mut unfinished = find_unfinished(job, &source, &rounder)?;
    let mut not_finite = match (&unfinished, job.recipe.rounding()) {
        (Some((_, run)), _) => run.not_finite.clone(),
        // Every part must know what is kept, also in the others.
        (None, Rounding::Nearest) if job.share.is_none() => NotFinite::new(),
        // A search takes long; beginning it again because of another weight would be a waste.
        (None, Rounding::Nearest | Rounding::Learned(_)) => {
            let plan = decide_whole(job, &source, &NotFinite::new())?;
            find_not_finite(job, &source, &plan, watch)?
        }
    };
    let statistics_hash = match job.recipe.tells_provenance() {
        true => rounder.statistics_hash()?,
        false => None,
    };
    let input_hashes = vec![OnceLock::new(); source.checkpoint.files().len()];
    let mut report = loop {
        let mut plan = decide(job, &source, &rounder, &not_finite)?;
        plan.tell_statistics(statistics_hash.clone());
        let pace = plan.pace(&job.input, &job.recipe, job.workers(), job.limits.memory_bytes)?;
        plan.bands = pace.bands;
        let job = &Job { threads: pace.threads, ..job.clone() };
        let run = Run::of(job, &source, &rounder, &not_finite);
        let manifest = plan.manifest()?;
        rounder.check(&plan)?;
        // Layers of other parts have a say in scales that are shared.
        let whole = job.share.map(|_| decide_whole(job, &source, &not_finite)).transpose()?;
        let whole = whole.as_ref().unwrap_or(&plan);
        let shared_scales = SharedScales::find(job, &source, &plan, whole, watch)?;
        let (mut output, finished) = open_output(job, manifest, &run, unfinished.take())?;
        let shop = Workshop {
            job,
            source: &source,
            plan: &plan,
            rounder: &rounder,
            shared_scales: &shared_scales,
            output: &output,
            watch,
            finished: &finished,
            input_hashes: &input_hashes,
        };
        match shop.convert_all().and_then(|layers| Ok(finish(&shop, layers)?)) {
            Ok(report) => match copy_side_files(job, &source, &mut output) {
                Ok(()) => break commit(output, report)?,
                Err(error) => return Err(left_behind(output, &plan, error)),
            },
            Err(Stop::Failed(error)) => return Err(left_behind(output, &plan, error)),
            Err(Stop::NotFinite { tensor }) => {
                let found = notice(watch, Event::NotFinite { tensor: &tensor })
                    .and_then(|()| find_not_finite(job, &source, &plan, watch));
                match found {
                    Ok(found) => not_finite.extend(found),
                    Err(error) => return Err(left_behind(output, &plan, error)),
                }
            }
        }
    };
    report.input_bytes = source.checkpoint.total_bytes();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Finds what is wrong with a job before it is begun, from headers and markers alone.
///
/// # Errors
/// As [`convert`], but for what only shows while weights are read and written.
pub fn check(job: &Job) -> Result<(), ConvertError> {
    let source = open_source(job)?;
    let plan = decide_whole(job, &source, &NotFinite::new())?;
    if job.share.is_none() {
        plan.pace(&job.input, &job.recipe, job.workers(), job.limits.memory_bytes)?;
    }
    if job.limits.shard_bytes.is_some() {
        source.checkpoint.side_files()?;
    }
    LayerInputs::of_recipe(&job.recipe, job.statistics.as_ref(), &source)?;
    Ok(())
}

fn open_source(job: &Job) -> Result<Source, ConvertError> {
    let source = match job.recipe.purpose() {
        Purpose::Repair => Source::open_mended(&job.input)?,
        Purpose::Quantize | Purpose::Decode(_) | Purpose::Migrate | Purpose::Edit => {
            Source::open_with(&job.input, &job.recipe)?
        }
    };
    match source.checkpoint.same_file_as(&job.output) {
        true => Err(ConvertError::OutputIsInput { path: job.output.clone() }),
        false => Ok(source),
    }
}

/// The plan of what this job makes, which may be a part.
fn decide(
    job: &Job,
    source: &Source,
    rounder: &Rounder<'_>,
    not_finite: &NotFinite,
) -> Result<Plan, ConvertError> {
    let plan = decide_whole(job, source, not_finite)?;
    let Some(share) = job.share else { return Ok(plan) };
    let recipe = serde_json::to_value(job.recipe.file());
    let statistics = job.statistics.as_ref().map(|file| hash_plain_file(&file.path));
    let entry = PartEntry {
        part: share.number(),
        of: share.count(),
        version: Tool::THIS.version.to_owned(),
        recipe: recipe.expect("texts and numbers always serialise"),
        statistics: statistics.transpose()?,
        device: rounder.engines().map(|engines| engines.kind().to_owned()),
        header: String::new(),
    };
    Ok(plan.part(share, entry))
}

fn decide_whole(job: &Job, source: &Source, not_finite: &NotFinite) -> Result<Plan, ConvertError> {
    let mut plan = Plan::decide(source, &job.recipe, not_finite)?;
    check_purpose(job, source, &plan)?;
    let manifest = plan.manifest()?;
    let tensors = manifest.tensors().iter();
    let after = tensors.map(|placed| (placed.name.as_str(), placed.shape.as_slice()));
    same_model(&job.output, source, &after.collect())?;
    // Where the whole does not fit, a part of it may.
    let pace = plan.pace(&job.input, &job.recipe, job.workers(), job.limits.memory_bytes);
    plan.bands = pace.map(|pace| pace.bands).unwrap_or_default();
    Ok(plan.shared_out(job.sharding(source)))
}

/// Finds out whether there is anything of what the job is for.
fn check_purpose(job: &Job, source: &Source, plan: &Plan) -> Result<(), ConvertError> {
    let path = || source.checkpoint.path().to_owned();
    match job.recipe.purpose() {
        Purpose::Quantize if plan.quantized().next().is_none() => {
            Err(nothing_to_convert(source, plan))
        }
        Purpose::Decode(_) | Purpose::Migrate if plan.rewritten().next().is_none() => {
            Err(ConvertError::NothingInCodes { path: path() })
        }
        Purpose::Repair if source.mended.as_ref().is_none_or(|mended| mended.mends.is_empty()) => {
            Err(ConvertError::NothingToRepair { path: path() })
        }
        _ => Ok(()),
    }
}

fn nothing_to_convert(source: &Source, plan: &Plan) -> ConvertError {
    const SHOWN: usize = 5;
    let kept = plan.kept_reasons().into_iter().take(SHOWN);
    let kept = kept.map(|(reason, count)| format!("{count} kept: {reason}"));
    let notes = plan.notes.iter().map(|note| format!("note: {note}"));
    let reasons: Vec<String> = kept.chain(notes).collect();
    let path = source.checkpoint.path().to_owned();
    ConvertError::NothingToConvert { path, reasons: reasons.join("\n  ") }
}

/// What an earlier run of this very job has left.
///
/// # Errors
/// [`ConvertError::OtherRun`] when it was of another job, whose work would be lost.
fn find_unfinished(
    job: &Job,
    source: &Source,
    rounder: &Rounder<'_>,
) -> Result<Option<(Unfinished, Run)>, ConvertError> {
    if job.starts_over {
        return Ok(None);
    }
    let Some(unfinished) = Unfinished::find(&job.output)? else { return Ok(None) };
    let now = Run::of(job, source, rounder, &NotFinite::new());
    match now.same_job(unfinished.run()) {
        Ok(run) => Ok(Some((unfinished, run))),
        Err(differences) => Err(ConvertError::OtherRun { path: unfinished.path(), differences }),
    }
}

/// The file to write into, and what is finished of it.
fn open_output(
    job: &Job,
    manifest: Manifest,
    run: &Run,
    unfinished: Option<(Unfinished, Run)>,
) -> Result<(TensorFileWriter, BTreeMap<String, Told>), ConvertError> {
    let Some((unfinished, _)) = unfinished else {
        let run = run.to_json();
        let output = TensorFileWriter::begin(&job.output, manifest, job.overwrite, &run)?;
        return Ok((output, BTreeMap::new()));
    };
    let (output, records) = TensorFileWriter::resume(unfinished, manifest, job.overwrite)?;
    let told =
        |record: roundwise_tensor_file::Record| Some((record.name, Told::from_json(record.told)?));
    Ok((output, records.into_iter().filter_map(told).collect()))
}

/// The report of a file that is all written.
fn finish(shop: &Workshop<'_>, layers: Vec<TensorReport>) -> Result<Report, ConvertError> {
    let hashes: Vec<FileHash> =
        shop.input_hashes.iter().filter_map(|hash| hash.get().cloned()).collect();
    let manifest = shop.plan.final_manifest(&hashes)?;
    shop.output.write_header(&manifest)?;
    let started = Instant::now();
    if shop.job.verifies {
        check_output(shop, &manifest, &layers)?;
    }
    let mut report = Report::of(shop.plan, shop.job, shop.rounder.engines(), layers);
    report.verify_seconds = shop.job.verifies.then(|| started.elapsed().as_secs_f64());
    report.resumed = shop.finished.len();
    if shop.job.hash_input {
        report.input_hashes = hashes;
    }
    notice(shop.watch, Event::Syncing)?;
    Ok(report)
}

/// A folder gets what lay beside the weights of the input, too.
fn copy_side_files(
    job: &Job,
    source: &Source,
    output: &mut TensorFileWriter,
) -> Result<(), ConvertError> {
    if job.limits.shard_bytes.is_none() {
        return Ok(());
    }
    for path in source.checkpoint.side_files()? {
        output.copy_beside(&path)?;
    }
    Ok(())
}

fn commit(output: TensorFileWriter, mut report: Report) -> Result<Report, ConvertError> {
    let path = output.temporary_path().to_owned();
    match output.commit() {
        Ok(committed) => {
            report.output_bytes = committed.bytes;
            report.sync_seconds = committed.sync_time.as_secs_f64();
            Ok(report)
        }
        Err(error) if matches!(error.kind(), TensorFileErrorKind::FolderNotSynced { .. }) => {
            Err(error.into())
        }
        Err(error) => {
            let tensors = report.layers.len();
            let source = Box::new(error.into());
            Err(ConvertError::Unfinished { source, finished: tensors, tensors, path })
        }
    }
}

/// The error that ended the work, and what the next run can go on with.
fn left_behind(output: TensorFileWriter, plan: &Plan, error: ConvertError) -> ConvertError {
    match output.leave() {
        Ok(Some(left)) => ConvertError::Unfinished {
            source: Box::new(error),
            finished: left.records,
            tensors: plan.tensors.len(),
            path: left.path,
        },
        // What cannot be recorded is done again; the first error is the one to tell.
        Ok(None) | Err(_) => error,
    }
}
