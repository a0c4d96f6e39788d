use roundwise_convert::recipe::SchemeEntry;
use roundwise_convert::scheme::{FAMILIES, FamilyNumber};

use crate::arguments::SchemesOptions;
use crate::console::{print, print_json, width};
use crate::table::Table;

pub(crate) fn run(options: &SchemesOptions) -> anyhow::Result<bool> {
    if options.json {
        print_json(&SchemeEntry::all())?;
        return Ok(true);
    }
    let mut table = Table::new(&["scheme", "bits", "opened by", "when"]);
    for SchemeEntry { name, bits, opened_by, when, .. } in SchemeEntry::all() {
        table.row(vec![name.to_owned(), bits.to_string(), opened_by, when.to_owned()]);
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

/// Returns the names of the schemes whose number has this meaning, with `n` in its place.
fn family_names(number: FamilyNumber) -> String {
    let families = FAMILIES.iter().filter(|family| family.number == number);
    families.map(|family| family.name("n")).collect::<Vec<_>>().join(", ")
}
