use roundwise_convert::{Defect, Diagnosis, RecipeFile, diagnose};

use super::rewrite;
use crate::arguments::RepairOptions;
use crate::console::{print, print_json};
use crate::text::{counted, path, plain};

pub(crate) fn run(options: &RepairOptions) -> anyhow::Result<bool> {
    if options.write {
        let recipe = RecipeFile { repair: Some(true), ..RecipeFile::default() };
        return rewrite::run(&options.rewrite, None, recipe);
    }
    let diagnosis = diagnose(&options.rewrite.input)?;
    if options.rewrite.run.json {
        print_json(&diagnosis)?;
    } else if !options.rewrite.run.quiet {
        print(&describe(options, &diagnosis))?;
    }
    Ok(diagnosis.mends.is_empty() && diagnosis.defects.is_empty())
}

fn describe(options: &RepairOptions, diagnosis: &Diagnosis) -> String {
    let mut text = format!(
        "{}: {} that can be made good, {} that cannot\n",
        path(&options.rewrite.input),
        counted(diagnosis.mends.len(), "damage"),
        diagnosis.defects.len(),
    );
    for mend in &diagnosis.mends {
        text += &describe_damage("wrong", &mend.damage);
        text += &format!("  remedy: {}\n", plain(&mend.remedy));
    }
    for defect in &diagnosis.defects {
        text += &describe_damage("without remedy", defect);
    }
    text += match (diagnosis.mends.is_empty(), diagnosis.defects.is_empty()) {
        (true, true) => "nothing to repair",
        (false, true) => "nothing was written; `--write` writes the repaired file",
        (_, false) => "not all of it can be repaired: start from the original weights",
    };
    text
}

fn describe_damage(verdict: &str, damage: &Defect) -> String {
    let subject = match damage.layer.as_str() {
        "" => "the file".to_owned(),
        layer => format!("`{}`", plain(layer)),
    };
    let problem = plain(&damage.problem);
    format!("{verdict}: {subject} {problem}\n  breaks {}\n", damage.breaks)
}
