use serde::Serialize;

use crate::error::ConvertError;
use crate::plan::budget::Assignment;
use crate::plan::plan::Plan;
use crate::source::Source;

/// A plan with what else is to be known of its file: what `plan --json` prints, and pages show.
#[derive(Debug, Serialize)]
pub struct PlanAnswer<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// Programs that open the output.
    opened_by: Vec<String>,
    input_bytes: u64,
    /// Room that the conversion needs.
    disk_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<&'a Assignment>,
}

impl<'a> PlanAnswer<'a> {
    /// Completes a plan.
    ///
    /// - `budget`: how the schemes were chosen, where the output has a limit
    ///
    /// # Errors
    /// When the output would be larger than a file can be.
    pub fn new(
        source: &Source,
        plan: &'a Plan,
        budget: Option<&'a Assignment>,
    ) -> Result<Self, ConvertError> {
        let consumers = plan.consumers();
        let opened_by = consumers.iter().filter_map(|it| it.answer.program()).map(str::to_owned);
        Ok(Self {
            plan,
            opened_by: opened_by.collect(),
            input_bytes: source.checkpoint.total_bytes(),
            disk_bytes: plan.manifest()?.file_bytes(),
            budget,
        })
    }
}
