//! docs/comfyui.md, from the record.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::row::{Matrix, Row};
use super::{RECORD, SCHEMES};
use crate::record::{self, Record};
use crate::workspace::Workspace;

const PATH: &str = "docs/comfyui.md";

/// Writes the page. Nothing happens where no record is.
pub(super) fn write(workspace: &Workspace) -> Result<()> {
    let Some(record) = record::read(workspace, RECORD)? else { return Ok(()) };
    let path = workspace.path(PATH);
    fs::write(&path, page(&record)).with_context(|| format!("write {}", path.display()))
}

/// The kinds of cases, with what is said before their table and the schemes that have a column.
const SECTIONS: [(&str, &str, &str); 8] = [
    ("diffusion model", "Diffusion models", DIFFUSION),
    ("text encoder", "Text encoders", ENCODERS),
    ("checkpoint", "Whole checkpoints", CHECKPOINTS),
    ("dialect", "Names of other dialects", DIALECTS),
    ("look-alike", "What stands beside models", LOOK_ALIKES),
    ("adapter", "Adapters", ADAPTERS),
    ("at load", "Adapters at load", AT_LOAD),
    ("statistics", "Statistics", STATISTICS),
];

const DIFFUSION: &str = "A cell: layers in codes · error of the output.";

const ENCODERS: &str = "\
A cell: layers in codes · error of the output. Deep networks of random matrices make every error larger. *Refused*
are encoders whose loader has no path for codes; inside a checkpoint they are kept, and schemes `fp16` and `bf16` are
possible.";

const CHECKPOINTS: &str = "\
A model with its text encoder, opened by *Load Checkpoint*. A cell: layers in codes of both together · error of the
model's output. Encoders that have no path for codes are kept.";

const DIALECTS: &str = "\
The same model under the names of another program, made by code that shares nothing with the translation: ComfyUI's
maps, diffusers' conversion of single files, the names of the `gguf` package; where there is none, the table turned
around. *Translated* is how far the output of the translated model is from the original's, without codes; *as it is*
the same of the untranslated file, where ComfyUI reads such names itself.";

const LOOK_ALIKES: &str = "\
Loaders of these have no path for codes: a conversion is refused. `bf16` stays possible.";

const ADAPTERS: &str = "\
Merged by `--merge-lora` beside ComfyUI's own merge in F32: `‖ours − ComfyUI's‖ / ‖ComfyUI's‖`. Where ComfyUI does
otherwise than the program that trained the adapter ([list](adapters.md#where-comfyui-does-otherwise)), it is not the
judge, and the published formula is.";

const AT_LOAD: &str = "\
Errors of outputs. Of `--extract-error-lora 32`: the converted model alone, with its adapter in *Load LoRA*, and in *Load
LoRA (Bypass)*. Of a LoRA over all blocks: merged by `--merge-lora`, and added by *Load LoRA* at load, both beside the
original with the LoRA.";

const STATISTICS: &str = "\
Collected in ComfyUI, under the names that it gives the layers, and used for the file under its own names.";

fn page(record: &Record<Matrix>) -> String {
    let Record { machine, commit, measured } = record;
    let wrong = measured.rows.iter().filter(|row| row.is_wrong()).count();
    let mut text = format!(
        "# Models in ComfyUI\n\n\
         Written by `cargo xtask comfy`. ComfyUI {}, on {}; commit `{commit}`. {} rows, {wrong} of them wrong.\n\n\
         {INTRODUCTION}",
        measured.version,
        machine.cpu,
        measured.rows.len(),
    );
    for (kind, title, introduction) in SECTIONS {
        let rows: Vec<&Row> = measured.rows.iter().filter(|row| row.kind == kind).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(text, "\n## {title}\n\n{introduction}\n\n");
        match kind {
            "dialect" => dialects(&mut text, &rows),
            "look-alike" | "adapter" | "at load" | "statistics" => list(&mut text, &rows),
            _ => schemes(&mut text, &rows),
        }
    }
    text + &without_case(measured)
}

const INTRODUCTION: &str = "\
Small random models of ComfyUI's own classes, under the names of published files, are converted, opened by ComfyUI's
own loaders and run. In every cell without bold text ComfyUI finds the same class and the same configuration as in the
original, as many layers in codes as were written, each weight within the error of its scheme, every other parameter
equal bit for bit, no missing and no unexpected names, no new complaint, and an output about as far from the original's
as random noise of the weights' errors moves it.

Random models find loaders that misread; errors of their outputs tell nothing of pictures. A CPU decodes and multiplies
in F32, so the kernels of graphics cards are not covered. Sizes that ComfyUI's detection knows by heart are replaced by
small ones after it, for the original and the converted file alike.

`default` is what `roundwise convert` does without flags; `fp8-legacy` is `--scheme fp8 --layout comfy-legacy`.
";

/// The schemes that some of these rows have, as columns of a table.
fn columns(rows: &[&Row]) -> Vec<&'static str> {
    SCHEMES.into_iter().filter(|scheme| rows.iter().any(|row| row.scheme == *scheme)).collect()
}

/// A table of cases and schemes.
fn schemes(text: &mut String, rows: &[&Row]) {
    let columns = columns(rows);
    let _ = writeln!(text, "| case | ComfyUI's class | recognised as | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|---|---|{}", "--:|".repeat(columns.len()));
    for case in cases(rows) {
        let of_case: Vec<&Row> = rows.iter().copied().filter(|row| row.case == case).collect();
        let class = of_case.iter().find_map(|row| row.class_name.clone()).unwrap_or_default();
        let subject = of_case.iter().find_map(|row| row.subject.clone()).unwrap_or_default();
        let cells: Vec<String> = columns.iter().map(|scheme| found(&of_case, scheme)).collect();
        let _ = writeln!(text, "| {case} | {class} | {subject} | {} |", cells.join(" | "));
    }
}

/// The cell of a scheme; in the first column why the original does not run.
fn found(of_case: &[&Row], scheme: &str) -> String {
    let failed = of_case.iter().find(|row| row.scheme == "-" && scheme == SCHEMES[0]);
    let row = of_case.iter().find(|row| row.scheme == scheme).or(failed);
    row.map_or(String::new(), |row| cell(row))
}

/// A table of translations, one row for each.
fn dialects(text: &mut String, rows: &[&Row]) {
    let columns = columns(rows);
    let _ = writeln!(
        text,
        "| case | table | ComfyUI's class | translated | as it is | {} |\n|---|---|---|--:|--:|{}",
        columns.join(" | "),
        "--:|".repeat(columns.len())
    );
    for case in cases(rows) {
        let of_case: Vec<&Row> = rows.iter().copied().filter(|row| row.case == case).collect();
        let names = |scheme: &str| of_case.iter().find(|row| row.scheme == scheme);
        let exactly = |scheme: &str| names(scheme).map_or(String::new(), |row| exact(row));
        let cells: Vec<String> = columns.iter().map(|scheme| found(&of_case, scheme)).collect();
        let translated = names("bf16").or(names("-")).map_or(String::new(), |row| exact(row));
        let first = of_case[0];
        let _ = writeln!(
            text,
            "| {case} | `{}` | {} | {translated} | {} | {} |",
            first.table.as_deref().unwrap_or_default(),
            first.class_name.as_deref().unwrap_or_default(),
            exactly("none"),
            cells.join(" | ")
        );
    }
}

/// A table of one result for each case.
fn list(text: &mut String, rows: &[&Row]) {
    text.push_str("| case | what it is | result |\n|---|---|---|\n");
    for case in cases(rows) {
        let of_case: Vec<&&Row> = rows.iter().filter(|row| row.case == case).collect();
        let what = of_case.iter().find_map(|row| row.subject.clone().or(row.class_name.clone()));
        let results: Vec<String> = of_case
            .iter()
            .map(|row| match row.output_error {
                Some(_) if !row.is_wrong() && row.layers.is_none() => {
                    format!("{}: {}", row.scheme, exact(row))
                }
                _ => format!("{}: {}", row.scheme, cell(row)),
            })
            .collect();
        let _ =
            writeln!(text, "| {case} | {} | {} |", what.unwrap_or_default(), results.join("; "));
    }
}

/// The names of cases, in their order.
fn cases(rows: &[&Row]) -> Vec<String> {
    let mut cases: Vec<String> = rows.iter().map(|row| row.case.clone()).collect();
    cases.dedup();
    cases
}

/// A cell: layers and the output's error, or what is wrong.
fn cell(row: &Row) -> String {
    if let Some(defect) = row.defects.first() {
        let defect: String = defect.chars().take(90).collect();
        return format!("**{}**", defect.replace('|', "/"));
    }
    if row.refused {
        return "refused".to_owned();
    }
    let layers = row.layers.map(|layers| layers.to_string());
    let error = row.output_error.map(|error| format!("{:.1} %", error * 100.0));
    let parts: Vec<String> = layers.into_iter().chain(error).chain(row.note.clone()).collect();
    parts.join(" · ")
}

/// A cell of what should be equal.
fn exact(row: &Row) -> String {
    match (row.defects.is_empty(), row.output_error) {
        (true, Some(0.0)) => "equal".to_owned(),
        (true, Some(error)) => format!("{error:.0e}"),
        _ => cell(row),
    }
}

/// The classes that no case builds.
fn without_case(matrix: &Matrix) -> String {
    if matrix.without_case.is_empty() {
        return String::new();
    }
    let mut text = "\n## Not built\n\n| ComfyUI's class | why |\n|---|---|\n".to_owned();
    for (class, reason) in &matrix.without_case {
        let _ = writeln!(text, "| {class} | {reason} |");
    }
    text
}
