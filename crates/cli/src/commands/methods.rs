use roundwise_convert::recipe::{MethodEntry, flag_of};
use roundwise_convert::rounding::{METHODS, Method, MethodOptions, SettingOfMethod};
use roundwise_convert::scheme::is_meant;

use crate::arguments::MethodsOptions;
use crate::console::{print, print_json, width_of_prose};
use crate::outcome::BadUsage;
use crate::table::Table;
use crate::text::{fold, wrap};

pub(crate) fn run(options: &MethodsOptions) -> anyhow::Result<bool> {
    let shown = match &options.name {
        Some(name) => vec![named(name)?],
        None => METHODS.iter().collect(),
    };
    match options.json {
        true => print_json(&shown.into_iter().map(MethodEntry::new).collect::<Vec<_>>())?,
        false => print(&describe(&shown))?,
    }
    Ok(true)
}

/// Returns the method of a name.
fn named(name: &str) -> anyhow::Result<&'static Method> {
    METHODS.iter().find(|method| method.name == name).ok_or_else(|| {
        let names = METHODS.iter().map(|method| method.name);
        let known: Vec<&str> = names.clone().collect();
        let meant = is_meant(name, names);
        let known = known.join(", ");
        BadUsage(format!("no method is called `{name}`{meant}\n  known: {known}")).into()
    })
}

/// Describes methods, each with the values of its settings, and then the settings.
fn describe(methods: &[&Method]) -> String {
    let mut text = String::new();
    for method in methods {
        text += &paragraph(&format!("{}: {}", method.name, method.summary));
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
    let is_of_some = |name: &str| {
        methods.iter().any(|method| method.settings().iter().any(|it| it.setting.name == name))
    };
    for setting in MethodOptions::SETTINGS.iter().filter(|setting| is_of_some(setting.name)) {
        table.row(vec![
            flag_of(setting.name),
            setting.meaning.to_owned(),
            setting.range.to_string(),
            setting.default.to_owned(),
        ]);
    }
    match table.is_empty() {
        true => text,
        false => text + "\n" + &table.render(width_of_prose()),
    }
}

/// Describes a setting: `top_p 0.2`, or the name alone where the method has no value of its own.
fn value(setting: &&SettingOfMethod) -> String {
    let name = setting.setting.name;
    setting.value.as_ref().map_or_else(|| name.to_owned(), |value| format!("{name} {value}"))
}

fn paragraph(text: &str) -> String {
    fold(text, width_of_prose()) + "\n"
}

fn indented(text: &str) -> String {
    let lines = wrap(text, width_of_prose().saturating_sub(2)).into_iter();
    lines.filter(|line| !line.is_empty()).map(|line| format!("  {line}\n")).collect()
}
