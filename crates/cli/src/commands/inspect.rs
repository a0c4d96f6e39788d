use roundwise_convert::inspect::{Inspection, inspect};
use roundwise_convert::model::{Dialect, FileKind};
use roundwise_convert::source::Opens;

use crate::arguments::InspectOptions;
use crate::command_line::command_of;
use crate::commands::verify::describe_findings;
use crate::console::{print, print_json, width};
use crate::table::Table;
use crate::text::{bytes, counted, path, plain};

pub(crate) fn run(options: &InspectOptions) -> anyhow::Result<bool> {
    let inspection = inspect(&options.input)?;
    if options.json {
        print_json(&as_json(&inspection)?)?;
    } else {
        print(&describe(&inspection))?;
    }
    Ok(true)
}

/// Returns what `inspect --json` prints: with the command that makes the file again, where it is known.
///
/// # Errors
/// None that is known: everything in it has a place in JSON.
pub fn as_json(inspection: &Inspection) -> serde_json::Result<serde_json::Value> {
    let mut json = serde_json::to_value(inspection)?;
    if let Some(made) = &inspection.provenance {
        json["provenance"]["command"] = command_of(made).into();
    }
    Ok(json)
}

fn describe(inspection: &Inspection) -> String {
    let mut text = format!(
        "{}: {} in {}\n",
        path(&inspection.path),
        bytes(inspection.bytes),
        counted(inspection.files, "file"),
    );
    text += &format!("model: {} (preset {})\n", inspection.architecture, inspection.preset);
    for key in &inspection.evidence {
        text += &format!("  because of `{}`\n", plain(key));
    }
    text += &describe_kind(inspection);
    text += &describe_contents(inspection);
    text += &format!("opened by: {}\n", inspection.opened_by.join("; "));
    text += &describe_header(inspection);
    text + &describe_findings(&inspection.findings)
}

/// Describes dtypes, layers in codes, and expert banks.
fn describe_contents(inspection: &Inspection) -> String {
    let mut dtypes = Table::new(&["dtype", "tensors", "elements", "size"]);
    for count in &inspection.dtypes {
        dtypes.row(vec![
            count.dtype.to_owned(),
            count.tensors.to_string(),
            count.elements.to_string(),
            bytes(count.bytes),
        ]);
    }
    let mut text = dtypes.render(width());
    for count in inspection.dtypes.iter().filter(|count| count.is_decoded) {
        text += &format!("  {} is decoded to F32 on reading\n", count.dtype);
    }
    for remark in &inspection.remarks {
        text += &format!("  {remark}\n");
    }
    let mut quantized = Table::new(&["layers in codes", "scheme", "told by"]);
    for count in &inspection.quantized {
        let spelling = count.spelling.clone();
        quantized.row(vec![count.layers.to_string(), count.scheme.clone(), spelling]);
    }
    if !quantized.is_empty() {
        text += &quantized.render(width());
    }
    if let Some(banks) = &inspection.expert_banks {
        text += &format!(
            "expert banks{}: {}, {}, {:.0} % of the file\n",
            match banks.is_read_in_codes || banks.layout_of_servers.is_some() {
                true => "",
                false => ", which are kept",
            },
            counted(banks.tensors, "tensor"),
            bytes(banks.bytes),
            banks.percent(),
        );
    }
    text
}

/// Describes what the header tells: how the file was made, and its other entries.
fn describe_header(inspection: &Inspection) -> String {
    let mut text = String::new();
    if let Some(made) = &inspection.provenance {
        text += &format!("made by: roundwise {}\n", plain(&made.version));
        for hash in &made.input_blake3 {
            text += &format!("  from a file of BLAKE3 {}\n", plain(hash));
        }
        text += &format!("  {}\n", plain(&command_of(made)));
    }
    if inspection.unread_entries > 0 {
        text += &format!(
            "entries of the GGUF header, such as a tokenizer, that outputs have no place for: {}\n",
            inspection.unread_entries
        );
    }
    for (key, value) in &inspection.metadata {
        text += &format!("header `{}`: {}\n", plain(key), plain(value));
    }
    text
}

/// Describes the kind of the file where the model's name does not tell it, and why it is not
/// converted to codes.
fn describe_kind(inspection: &Inspection) -> String {
    let mut text = match inspection.kind {
        FileKind::Unknown => String::new(),
        kind => format!("kind: {kind}\n"),
    };
    if matches!(inspection.dialect, Dialect::Diffusers | Dialect::LlamaCpp) {
        let is_read = matches!(inspection.fp8_consumer, Opens::Yes { .. });
        let becomes = match (&inspection.names_stay, inspection.dialect) {
            (Some(_), _) => "",
            (None, Dialect::LlamaCpp) if !is_read => {
                "; `convert --names translate` makes them the model's own"
            }
            (None, _) => "; `convert` translates them to the model's own",
        };
        text += &format!("names: {}{becomes}\n", inspection.dialect);
    }
    if !inspection.wrapper.is_empty() {
        text += &format!("names begin with `{}`, of training code\n", plain(&inspection.wrapper));
    }
    if let Some(reason) = &inspection.names_stay {
        text += &format!("names are not translated: {}\n", plain(reason));
    }
    if let Opens::No { reason, .. } = &inspection.fp8_consumer {
        text += &format!("not converted to codes: {reason}\n");
    }
    text
}
