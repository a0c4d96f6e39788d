//! Places that somebody named for outputs and reports.

use std::path::Path;

use anyhow::bail;
use roundwise_convert::run::Target;
use roundwise_convert::tensor_file::ending_of_weights;

use crate::arguments::{WriteOptions, overwrite};
use crate::outcome::BadUsage;
use crate::text::path;

/// The report that was asked for.
pub(super) fn report_target(write: &WriteOptions) -> Option<Target> {
    let report = write.report.as_ref()?;
    Some(Target::file(report, "the report", overwrite(write.force)))
}

/// Refuses `-`, which means standard output elsewhere; here it would be a file of that name.
pub(super) fn refuse_standard_output(named: &Path) -> anyhow::Result<()> {
    if named == Path::new("-") {
        bail!(BadUsage(
            "`-`: nothing is written to standard output; name a file (`./-` for one called so)\n  \
             `--json` prints the report"
                .into()
        ));
    }
    Ok(())
}

/// Refuses to write a text over weights, which `--force` would allow.
///
/// - `content`: what messages call the text
pub(super) fn refuse_weights(named: &Path, content: &str) -> anyhow::Result<()> {
    if ending_of_weights(named).is_some() {
        let named = path(named);
        bail!(BadUsage(format!("{named}: is a name of weights; name another file for {content}")));
    }
    Ok(())
}
