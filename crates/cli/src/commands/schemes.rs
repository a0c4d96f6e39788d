use roundwise_convert::{CATALOG, Layout, client};
use serde_json::json;

use crate::arguments::SchemesOptions;
use crate::console::{print, print_json, width};
use crate::table::Table;

pub(crate) fn run(options: &SchemesOptions) -> anyhow::Result<bool> {
    if options.json {
        let schemes: Vec<_> = CATALOG
            .iter()
            .map(|entry| {
                json!({
                    "name": entry.name,
                    "bits": entry.scheme.code_bits(),
                    "client": client(Layout::default_for(entry.scheme), entry.scheme).name,
                    "when": entry.when,
                })
            })
            .collect();
        print_json(&schemes)?;
        return Ok(true);
    }
    let mut table = Table::new(&["scheme", "bits", "opened by", "when"]);
    for entry in CATALOG {
        table.row(vec![
            entry.name.to_owned(),
            entry.scheme.code_bits().to_string(),
            client(Layout::default_for(entry.scheme), entry.scheme).name.to_owned(),
            entry.when.to_owned(),
        ]);
    }
    print(&table.render(width()))?;
    print(
        "  Blocks of any size n: fp8-block-n, int8-block-n; of n weights of a row: fp8-block3d-n.",
    )?;
    print(
        "  Rotated groups of at most n columns, a power of 4: int8-row-convrot-n, int4-convrot-n, \
         int4-asym-n.",
    )?;
    Ok(true)
}
