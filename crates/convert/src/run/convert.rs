use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use roundwise_tensor_file::{Left, Manifest, TensorFileErrorKind, TensorFileWriter, Unfinished};

use crate::error::ConvertError;
use crate::plan::NotFinite;
use crate::plan::Plan;
use crate::plan::Tool;
use crate::plan::part::PartEntry;
use crate::plan::same_model::same_model;
use crate::recipe::{Purpose, Rounding};
use crate::report::record::Told;
use crate::report::{Report, TensorReport};
use crate::run::check_output::check_output;
use crate::run::job::Job;
use crate::run::not_finite::find_not_finite;
use crate::run::resume::Run;
use crate::run::round::Rounder;
use crate::run::shared_scales::SharedScales;
use crate::run::tensor::{Stop, Workshop, convert_all};
use crate::source::FileHash;
use crate::source::Source;
use crate::source::hash::hash_plain_file;
use crate::source::layer_inputs::LayerInputs;
use crate::watch::{Event, Watch, notice};

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
    let mut reports = convert_together(std::slice::from_ref(job), watch)?;
    Ok(reports.pop().expect("one report for one job"))
}

/// Converts one file to several outputs: each weight is read once, and what a search looks for in
/// it before it chooses codes is found once. Every output is, byte for byte, the one that
/// [`convert`] would have made of its job alone.
///
/// - `jobs`: the same but for their outputs, and scheme and layout of their recipes
///
/// # Errors
/// As [`convert`], and [`ConvertError::Apart`] for jobs that differ in more. Outputs appear under
/// their names when all of them are complete; what is left behind belongs to all.
pub fn convert_together(jobs: &[Job], watch: &dyn Watch) -> Result<Vec<Report>, ConvertError> {
    let Some(first) = jobs.first() else { return Ok(vec![]) };
    if let Some(other) = jobs.iter().find(|job| !first.is_made_with(job)) {
        return Err(ConvertError::Apart { path: other.output.clone() });
    }
    let started = Instant::now();
    let source = open_source(first)?;
    jobs.iter().try_for_each(|job| refuse_input(job, &source))?;
    let rounder = Rounder::new(first, &source, watch)?;
    let makings = jobs.iter().map(|job| Making::begin(job, &source, &rounder, watch));
    let mut makings: Vec<Making<'_>> = makings.collect::<Result<_, _>>()?;
    let statistics_hash = match first.recipe.tells_provenance() {
        true => rounder.statistics_hash()?,
        false => None,
    };
    let common = Common {
        source: &source,
        rounder: &rounder,
        watch,
        statistics_hash,
        input_hashes: vec![OnceLock::new(); source.checkpoint.files().len()],
    };
    let mut reports = loop {
        let drafts = draft_all(&mut makings, &common)?;
        let shops: Vec<Workshop<'_>> = drafts.iter().map(|draft| draft.workshop(&common)).collect();
        match convert_all(&shops).and_then(|layers| Ok(finish_all(&shops, layers)?)) {
            Ok(reports) => break commit_all(drafts, reports, &source)?,
            Err(Stop::Failed(error)) => return Err(left_behind(drafts, error)),
            Err(Stop::NotFinite { tensor }) => {
                let found = notice(watch, Event::NotFinite { tensor: &tensor });
                let found = found.and_then(|()| {
                    let mut pairs = makings.iter_mut().zip(&drafts);
                    pairs.try_for_each(|(making, draft)| {
                        let found = find_not_finite(&draft.job, &source, &draft.plan, watch)?;
                        making.not_finite.extend(found);
                        Ok(())
                    })
                });
                if let Err(error) = found {
                    return Err(left_behind(drafts, error));
                }
            }
        }
    };
    for report in &mut reports {
        report.input_bytes = source.checkpoint.total_bytes();
        report.seconds = started.elapsed().as_secs_f64();
    }
    Ok(reports)
}

/// What the outputs of one input have in common.
struct Common<'a> {
    source: &'a Source,
    rounder: &'a Rounder<'a>,
    watch: &'a dyn Watch,
    statistics_hash: Option<String>,
    /// Hash of every file of the input, once it is known.
    input_hashes: Vec<OnceLock<FileHash>>,
}

/// An output that is to be made, and what is known before its plan.
struct Making<'a> {
    job: &'a Job,
    unfinished: Option<(Unfinished, Run)>,
    not_finite: NotFinite,
}

impl<'a> Making<'a> {
    fn begin(
        job: &'a Job,
        source: &Source,
        rounder: &Rounder<'_>,
        watch: &dyn Watch,
    ) -> Result<Self, ConvertError> {
        let unfinished = find_unfinished(job, source, rounder)?;
        let not_finite = match (&unfinished, job.recipe.rounding()) {
            (Some((_, run)), _) => run.not_finite.clone(),
            // Every part must know what is kept, also in the others.
            (None, Rounding::Nearest) if job.share.is_none() => NotFinite::new(),
            // A search takes long; beginning it again because of another weight would be a waste.
            (None, Rounding::Nearest | Rounding::Learned(_)) => {
                let plan = decide_whole(job, source, &NotFinite::new())?;
                find_not_finite(job, source, &plan, watch)?
            }
        };
        Ok(Self { job, unfinished, not_finite })
    }

    fn draft(&mut self, common: &Common<'_>) -> Result<Draft, ConvertError> {
        let (job, source) = (self.job, common.source);
        let mut plan = decide(job, source, common.rounder, &self.not_finite)?;
        plan.tell_statistics(common.statistics_hash.clone());
        let pace = plan.pace(&job.input, &job.recipe, job.workers(), job.limits.memory_bytes)?;
        plan.bands = pace.bands;
        let job = Job { threads: pace.threads, ..job.clone() };
        let run = Run::of(&job, source, common.rounder, &self.not_finite);
        let manifest = plan.manifest()?;
        common.rounder.check(&plan)?;
        // Layers of other parts have a say in scales that are shared.
        let whole = job.share.map(|_| decide_whole(&job, source, &self.not_finite)).transpose()?;
        let shared_scales = {
            let whole = whole.as_ref().unwrap_or(&plan);
            SharedScales::find(&job, source, &plan, whole, common.watch)?
        };
        let (output, finished) = open_output(&job, manifest, &run, self.unfinished.take())?;
        Ok(Draft { job, plan, shared_scales, output, finished })
    }
}

/// Opens all outputs, or leaves those that were opened as they are.
fn draft_all(makings: &mut [Making<'_>], common: &Common<'_>) -> Result<Vec<Draft>, ConvertError> {
    let mut drafts = Vec::with_capacity(makings.len());
    for making in makings {
        match making.draft(common) {
            Ok(draft) => drafts.push(draft),
            Err(error) => return Err(left_behind(drafts, error)),
        }
    }
    Ok(drafts)
}

/// An output that is planned and opened.
struct Draft {
    job: Job,
    plan: Plan,
    shared_scales: SharedScales,
    output: TensorFileWriter,
    /// What an earlier run has finished, by the tensor of the input.
    finished: BTreeMap<String, Told>,
}

impl Draft {
    fn workshop<'a>(&'a self, common: &'a Common<'_>) -> Workshop<'a> {
        Workshop {
            job: &self.job,
            source: common.source,
            plan: &self.plan,
            rounder: common.rounder,
            shared_scales: &self.shared_scales,
            output: &self.output,
            watch: common.watch,
            finished: &self.finished,
            input_hashes: &common.input_hashes,
        }
    }
}

/// Finds what is wrong with a job before it is begun, from headers and markers alone.
///
/// # Errors
/// As [`convert`], but for what only shows while weights are read and written.
pub fn check(job: &Job) -> Result<(), ConvertError> {
    let source = open_source(job)?;
    refuse_input(job, &source)?;
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
    match job.recipe.purpose() {
        Purpose::Repair => Source::open_mended(&job.input),
        Purpose::Quantize | Purpose::Decode(_) | Purpose::Migrate | Purpose::Edit => {
            Source::open_with(&job.input, &job.recipe)
        }
    }
}

/// The output must be another file than the input.
fn refuse_input(job: &Job, source: &Source) -> Result<(), ConvertError> {
    match source.checkpoint.same_file_as(&job.output) {
        true => Err(ConvertError::OutputIsInput { path: job.output.clone() }),
        false => Ok(()),
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
        Err(differences) => {
            let typed = |difference: String| job.recipe.file().in_typed_words(&difference);
            let differences = differences.into_iter().map(typed).collect();
            Err(ConvertError::OtherRun { path: unfinished.path(), differences })
        }
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

fn finish_all(
    shops: &[Workshop<'_>],
    layers: Vec<Vec<TensorReport>>,
) -> Result<Vec<Report>, ConvertError> {
    shops.iter().zip(layers).map(|(shop, layers)| finish(shop, layers)).collect()
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

/// Gives complete outputs their names.
fn commit_all(
    mut drafts: Vec<Draft>,
    reports: Vec<Report>,
    source: &Source,
) -> Result<Vec<Report>, ConvertError> {
    let copied = drafts
        .iter_mut()
        .try_for_each(|Draft { job, output, .. }| copy_side_files(job, source, output));
    match copied {
        Ok(()) => {
            let pairs = drafts.into_iter().zip(reports);
            pairs.map(|(draft, report)| commit(draft.output, report)).collect()
        }
        Err(error) => Err(left_behind(drafts, error)),
    }
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
            Err(ConvertError::Unfinished { source, finished: tensors, tensors, paths: vec![path] })
        }
    }
}

/// The error that ended the work, and what the next run can go on with.
fn left_behind(drafts: Vec<Draft>, error: ConvertError) -> ConvertError {
    let tensors = drafts.iter().map(|draft| draft.plan.tensors.len()).sum();
    // What cannot be recorded is done again; the first error is the one to tell.
    let left: Vec<Left> =
        drafts.into_iter().filter_map(|draft| draft.output.leave().ok().flatten()).collect();
    if left.is_empty() {
        return error;
    }
    ConvertError::Unfinished {
        source: Box::new(error),
        finished: left.iter().map(|left| left.records).sum(),
        tensors,
        paths: left.into_iter().map(|left| left.path).collect(),
    }
}
