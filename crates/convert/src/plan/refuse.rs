//! Inputs and recipes that no plan is made for.

use std::collections::BTreeSet;
use std::path::Path;

use roundwise_layout::{Defect, ExpertStorage, Opener, OpenerKind, RepairedLayers};
use roundwise_scheme::Scheme;

use crate::error::ConvertError;
use crate::model::{Detected, Preset};
use crate::plan::decision::PlannedTensor;
use crate::plan::reason::Reason;
use crate::recipe::{Complaint, Program, Purpose, Recipe, Setting, Text};
use crate::source::consumer::Consumer;
use crate::source::consumer::answer::TakesCodes;
use crate::source::{Source, Subject};

/// Refuses what the program that a layout is for would read as garbage, unless somebody insists on
/// what it is. A preset that was asked for refuses, too.
pub(super) fn refuse_codes(
    path: &Path,
    recipe: &Recipe,
    subject: &Subject,
    preset: &Preset,
) -> Result<(), ConvertError> {
    if !recipe.stores_codes() {
        return Ok(());
    }
    // A preset that was only detected refuses below, where a recipe may insist on what the model is.
    let forced = recipe.preset().and(preset.refuse.as_ref());
    if let Some(reason) = forced {
        return Err(ConvertError::Refused {
            path: path.to_owned(),
            title: format!("a model under preset `{}`", preset.name),
            reason: reason.clone(),
            way_out: "leave it as it is, or name another preset".into(),
        });
    }
    refuse_subject(path, recipe, subject)
}

/// Refuses a model whose codes the program that a layout is for does not read.
pub(super) fn refuse_subject(
    path: &Path,
    recipe: &Recipe,
    subject: &Subject,
) -> Result<(), ConvertError> {
    let layout = recipe.layout();
    match Consumer::of(layout).takes_codes(subject, layout) {
        TakesCodes::No { reason, way_out } if recipe.insisted_kind().is_none() => {
            let title = subject.detected.main.title.to_owned();
            let way_out = match recipe.purpose() {
                Purpose::Quantize => {
                    Text::from(way_out)
                        + "; "
                        + Setting::new("as").quoted()
                        + " insists on what it is"
                }
                // Only a conversion can be told what the file is.
                Purpose::Decode(_) | Purpose::Migrate | Purpose::Repair | Purpose::Edit => {
                    way_out.into()
                }
            };
            Err(ConvertError::Refused { path: path.to_owned(), title, reason, way_out })
        }
        TakesCodes::No { .. } | TakesCodes::NotKnown { .. } | TakesCodes::Yes => Ok(()),
    }
}

/// Refuses layers in codes that no one can decode: they must not be passed on as if they were
/// plain.
pub(super) fn refuse_unreadable(
    path: &Path,
    source: &Source,
    tensors: &[PlannedTensor],
) -> Result<(), ConvertError> {
    let removed: BTreeSet<&str> = tensors
        .iter()
        .filter(|planned| matches!(planned.reason, Reason::Removed(_)))
        .map(PlannedTensor::layer)
        .collect();
    let defects: Vec<Defect> = source
        .stored
        .defects
        .iter()
        .filter(|defect| !removed.contains(defect.layer.as_str()))
        .cloned()
        .collect();
    match defects.is_empty() {
        true => Ok(()),
        false => {
            // Repairable where a repair was not tried yet, and would leave no defect.
            let left = RepairedLayers::find(&source.checkpoint)?.stored.defects;
            let is_repairable = source.repaired.is_none() && left.is_empty();
            Err(ConvertError::Unreadable { path: path.to_owned(), defects, is_repairable })
        }
    }
}

/// Returns the error of a part that is to be for servers: their configuration is about the whole.
pub(super) fn part_for_servers(path: &Path) -> ConvertError {
    let setting = Setting::new("part");
    let problem = setting.clone().quoted()
        + " makes files that are merged into one, and servers read a folder with a configuration of its whole\n  \
           leave it out; a conversion that is stopped goes on where it was";
    let complaints = vec![Complaint::about(setting, problem)];
    ConvertError::Misfit { path: path.to_owned(), complaints }
}

/// Refuses a weight file by itself for servers: what they read beside it goes along with a folder alone.
pub(super) fn refuse_lone_file(source: &Source, subject: &Subject) -> Result<(), ConvertError> {
    let path = source.checkpoint.path();
    // Where nothing describes a language model, another refusal says so.
    if !source.checkpoint.is_lone_file() || subject.served.is_none() {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.display().to_string(),
        _ => ".".to_owned(),
    };
    let problem =
        "servers read a folder, and a file alone comes without its `config.json` and tokenizer";
    Err(ConvertError::misfit(path, format!("{problem}\n  name the folder: {folder}")))
}

/// Refuses a file that is not the model a recipe names.
pub(super) fn refuse_other_model(
    path: &Path,
    recipe: &Recipe,
    detected: &Detected,
) -> Result<(), ConvertError> {
    match recipe.file().model.as_deref() {
        Some(model) if model != detected.main.title => {
            let setting = Setting::new("model");
            let differ = format!("holds: {}; the recipe is for: {model}\n  ", detected.main.title);
            let help = Text::from("leave ")
                + setting.clone().quoted()
                + " out of a recipe that fits other models, too";
            let complaints = vec![Complaint::about(setting, Text::from(differ) + help)];
            Err(ConvertError::Misfit { path: path.to_owned(), complaints })
        }
        _ => Ok(()),
    }
}

/// Refuses a plan by which experts of one layer are stored in several ways, which no server reads.
///
/// # Errors
/// [`ConvertError::Misfit`].
pub(super) fn refuse_mixed_experts(
    path: &Path,
    experts: ExpertStorage,
) -> Result<(), ConvertError> {
    let problem = Text::from(
        "experts of one layer would be stored in several ways, and servers take that of the first for all\n  give all of \
         them one scheme, or keep all with ",
    ) + Setting::new("keep").quoted();
    match experts {
        ExpertStorage::Alike | ExpertStorage::AlikeInLayers | ExpertStorage::Kept => Ok(()),
        ExpertStorage::Mixed => Err(ConvertError::misfit(path, problem)),
    }
}

/// Refuses schemes that the program which the output is said to be for does not open, and others do.
///
/// - `opener_other_than`: who opens a scheme that this program does not, and what it is about the experts that it does not
///   read, where it is that
pub(super) fn refuse_for_program(
    path: &Path,
    recipe: &Recipe,
    schemes: Vec<Scheme>,
    opener_other_than: impl Fn(Program, Scheme) -> Option<(Opener, Option<String>)>,
) -> Result<(), ConvertError> {
    let named = recipe.file().program.as_deref();
    let known = Program::NAMES.into_iter().find(|(name, _)| Some(*name) == named);
    let Some((_, program)) = known else { return Ok(()) };
    let complaint = |scheme: Scheme| {
        let (opener, trouble) = opener_other_than(program, scheme)?;
        let is_nobody = matches!(opener.kind, OpenerKind::Nobody { .. });
        let (others, or_others) = match is_nobody {
            true => ("no program is known that does".to_owned(), ""),
            // One of them, or two with an "and".
            false if opener.name.contains(" and ") => {
                (format!("{} do", opener.name), ", or one of these")
            }
            false => (format!("{} does", opener.name), ", or that one"),
        };
        let way_out = match trouble {
            Some(_) => {
                "give all experts that can be in codes one scheme, and their inputs `dynamic` scales"
            }
            None => "name another scheme or layout",
        };
        let what = trouble.unwrap_or_else(|| {
            format!("{} does not read `{scheme}` in this model", program.title())
        });
        let problem = format!("{what}; {others}\n  {way_out}{or_others}");
        Some(Complaint::about(Setting::new("for"), problem))
    };
    let complaints: Vec<Complaint> = schemes.into_iter().filter_map(complaint).collect();
    match complaints.is_empty() {
        true => Ok(()),
        false => Err(ConvertError::Misfit { path: path.to_owned(), complaints }),
    }
}
