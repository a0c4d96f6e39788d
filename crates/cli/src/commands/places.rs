//! Places that somebody named for outputs and reports.

use std::path::Path;

use anyhow::bail;
use roundwise_convert::run::Target;
use roundwise_convert::tensor_file::WEIGHT_ENDINGS;

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

/// Refuses names of outputs that promise what is not written: programs choose their reader by them.
pub(super) fn refuse_other_container(named: &Path) -> anyhow::Result<()> {
    if ending_of_weights(named).is_some_and(|ending| ending != ".safetensors") {
        bail!(BadUsage(format!(
            "{}: outputs are safetensors, whatever their name\n  name {}",
            path(named),
            path(&named.with_extension("safetensors")),
        )));
    }
    Ok(())
}

/// Returns the ending of a name of weights; `None` for any other name.
fn ending_of_weights(named: &Path) -> Option<&'static str> {
    let ending = format!(".{}", named.extension()?.to_string_lossy().to_lowercase());
    WEIGHT_ENDINGS.into_iter().find(|known| *known == ending)
}
