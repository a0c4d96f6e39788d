use roundwise_convert::recipe::MethodEntry;
use roundwise_convert::rounding::{METHODS, MethodOptions, SettingOfMethod};

use crate::arguments::MethodsOptions;
use crate::console::{print, print_json, width};
use crate::table::Table;
use crate::text::wrap;
use crate::typed::flag_of;

pub(crate) fn run(options: &MethodsOptions) -> anyhow::Result<bool> {
    match options.json {
        true => print_json(&MethodEntry::all())?,
        false => print(&describe())?,
    }
    Ok(true)
}

/// Describes the methods, each with the values of its settings, and then the settings.
fn describe() -> String {
    let mut text = String::new();
    for method in METHODS {
        text += &format!("{}: {}\n", method.name, method.summary);
        let settings = method.settings();
        let (own, others): (Vec<_>, Vec<_>) =
            settings.iter().partition(|setting| setting.solvers.is_empty());
        text += &indented(&own.iter().map(value).collect::<Vec<_>>().join(", "));
        if !others.is_empty() {
            let names: Vec<&str> = others.iter().map(|setting| setting.setting.name).collect();
            text += &indented(&format!("with another solver also {}", names.join(", ")));
        }
    }
    let mut table = Table::new(&["setting", "meaning", "range", "default"]);
    for setting in MethodOptions::SETTINGS {
        table.row(vec![
            flag_of(setting.name),
            setting.meaning.to_owned(),
            setting.range.to_string(),
            setting.default.to_owned(),
        ]);
    }
    text + "\n" + &table.render(width())
}

/// Describes a setting: `top_p 0.2`, or the name alone where the method has no value of its own.
fn value(setting: &&SettingOfMethod) -> String {
    let name = setting.setting.name;
    setting.value.as_ref().map_or_else(|| name.to_owned(), |value| format!("{name} {value}"))
}

fn indented(text: &str) -> String {
    let lines = wrap(text, width().saturating_sub(2)).into_iter();
    lines.filter(|line| !line.is_empty()).map(|line| format!("  {line}\n")).collect()
}
