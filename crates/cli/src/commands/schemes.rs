use roundwise_convert::layout::{Layout, client};
use roundwise_convert::scheme::{CATALOG, FAMILIES, FamilyNumber};
use serde_json::json;

use crate::arguments::SchemesOptions;
use crate::console::{print, print_json, width};
use crate::table::Table;

pub(crate) fn run(options: &SchemesOptions) -> anyhow::Result<bool> {
    if options.json {
        print_json(&as_json())?;
        return Ok(true);
    }
    let mut table = Table::new(&["scheme", "bits", "opened by", "when"]);
    for entry in CATALOG {
        table.row(vec![
            entry.name.to_owned(),
            entry.bits().to_string(),
            client(Layout::default_for(entry.scheme), entry.scheme).name.to_owned(),
            entry.when.to_owned(),
        ]);
    }
    print(&table.render(width()))?;
    print(&format!(
        "  Blocks of any size n: {}; of n weights of a row: {}.",
        family_names(FamilyNumber::BlockEdge),
        family_names(FamilyNumber::RowGroup)
    ))?;
    print(&format!(
        "  Rotated groups of at most n columns, a power of 4: {}.",
        family_names(FamilyNumber::Rotation)
    ))?;
    Ok(true)
}

/// Returns what `schemes --json` prints.
pub fn as_json() -> serde_json::Value {
    let schemes = CATALOG.iter().map(|entry| {
        json!({
            "name": entry.name,
            "summary": entry.summary(),
            "read_as": entry.scheme.read_as().to_string(),
            "bits": entry.bits(),
            "client": client(Layout::default_for(entry.scheme), entry.scheme).name,
            "when": entry.when,
        })
    });
    schemes.collect()
}

/// Returns the names of the schemes whose number has this meaning, with `n` in its place.
fn family_names(number: FamilyNumber) -> String {
    let families = FAMILIES.iter().filter(|family| family.number == number);
    families.map(|family| family.name("n")).collect::<Vec<_>>().join(", ")
}
