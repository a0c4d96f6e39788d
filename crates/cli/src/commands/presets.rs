use roundwise_convert::model::{Architecture, Preset};
use roundwise_convert::recipe::PresetEntry;

use crate::arguments::PresetsOptions;
use crate::console::{print, print_json, width_of_prose};
use crate::outcome::BadUsage;
use crate::text::wrap;

pub(crate) fn run(options: &PresetsOptions) -> anyhow::Result<bool> {
    let shown: Vec<&'static Preset> = match &options.name {
        Some(name) => vec![Preset::by_name(name).map_err(|error| BadUsage(error.to_string()))?],
        None => Preset::all().iter().collect(),
    };
    if options.json {
        print_json(&shown.into_iter().map(PresetEntry::new).collect::<Vec<_>>())?;
    } else {
        let texts = shown.into_iter().map(|preset| {
            // Of all presets together they are hundreds.
            let kept = if options.name.is_some() { kept(preset) } else { vec![] };
            describe(preset, kept)
        });
        print(&texts.collect::<String>())?;
    }
    Ok(true)
}

/// Describes a preset: its names and purpose, then how its models are recognised.
///
/// - `kept`: what follows about its layers
fn describe(preset: &Preset, kept: Vec<String>) -> String {
    let names: Vec<&str> = preset.names().collect();
    let mut text = format!("{}: {}\n", names.join(", "), preset.title);
    let mut lines: Vec<String> = preset.recognises().map(describe_architecture).collect();
    lines.extend(special(preset).map(str::to_owned));
    if lines.is_empty() {
        lines.push("on request only".to_owned());
    }
    lines.extend(preset.refuse.as_ref().map(|reason| format!("not converted: {reason}")));
    lines.extend(kept);
    for line in lines {
        for (number, part) in wrap(&line, width_of_prose().saturating_sub(4)).iter().enumerate() {
            let indent = if number == 0 { "  " } else { "    " };
            text += &format!("{indent}{part}\n");
        }
    }
    text
}

/// Lists the layers that a preset keeps, by the reason.
fn kept(preset: &Preset) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<String>)> = vec![];
    for rule in &preset.keep {
        let layers = format!("`{}`", rule.layers);
        match by_reason.iter_mut().find(|(reason, _)| *reason == rule.reason) {
            Some((_, others)) => others.push(layers),
            None => by_reason.push((&rule.reason, vec![layers])),
        }
    }
    let line =
        |(reason, layers): (&str, Vec<String>)| format!("keeps {}: {reason}", layers.join(", "));
    let on_top = (preset.name != "base").then(|| "keeps what `base` keeps".to_owned());
    by_reason.into_iter().map(line).chain(on_top).collect()
}

fn describe_architecture(architecture: &Architecture) -> String {
    let mut text = format!("{} by {}", architecture.title, architecture.conditions().join(" and "));
    let exceptions = architecture.exceptions();
    if !exceptions.is_empty() {
        text += &format!(", without {}", exceptions.join(" and without "));
    }
    text
}

/// Returns when a preset applies that tensors do not choose, or not alone.
fn special(preset: &Preset) -> Option<&'static str> {
    match preset.name.as_str() {
        "base" => Some("every model, on top of its own preset"),
        "generic" => Some("models that are not recognised"),
        "unclaimed" => Some("tensors beside a model that belong to nothing known"),
        "vae" => Some("the decoder inside a checkpoint"),
        _ => None,
    }
}
