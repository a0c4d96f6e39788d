use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use roundwise_convert::Report;
use roundwise_convert::tensor_file::{
    TensorFileErrorKind, name_one_file, read_text, write_text_atomically,
};
use roundwise_studio::report_page;

use crate::arguments::{ReportOptions, overwrite};
use crate::commands::places::refuse_weights;
use crate::console::print;
use crate::outcome::BadUsage;
use crate::text::path;

pub(crate) fn run(options: &ReportOptions) -> anyhow::Result<bool> {
    let output = output_of(options);
    refuse_weights(&output, "the page")?;
    if options.reports.iter().any(|report| *report == output || name_one_file(report, &output)) {
        bail!(BadUsage(format!("{}: is a report; name another file for the page", path(&output))));
    }
    if output.exists() && !options.force {
        bail!("{}: exists already\n  name another file, or `--force` to replace it", path(&output));
    }
    let mut reports = vec![];
    for file in &options.reports {
        reports.extend(read(file)?);
    }
    if reports.len() > 2 {
        bail!(BadUsage(format!("{} reports are more than can be compared: 2", reports.len())));
    }
    write_text_atomically(&output, &report_page(&reports)?, overwrite(options.force))?;
    print(&format!("{}: open it in a browser", path(&output)))?;
    Ok(true)
}

fn output_of(options: &ReportOptions) -> PathBuf {
    options.output.clone().unwrap_or_else(|| options.reports[0].with_extension("html"))
}

/// Returns the report of a file, or all of them where several outputs were made together.
fn read(file: &Path) -> anyhow::Result<Vec<Report>> {
    let text = read_text(file).map_err(|error| match error.kind() {
        TensorFileErrorKind::TextUtf8 { .. } | TensorFileErrorKind::TextTooLong { .. } => {
            no_report(file, "it holds no text")
        }
        _ => error.into(),
    })?;
    // `--report` writes a list where one input has several outputs.
    let reports = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(&text),
        false => Report::from_json(&text).map(|report| vec![report]),
    };
    reports.map_err(|error| no_report(file, &error.to_string()))
}

fn no_report(file: &Path, problem: &str) -> anyhow::Error {
    anyhow!(
        "{}: is no report: {problem}\n  `roundwise convert --report FILE` writes one",
        path(file)
    )
}
