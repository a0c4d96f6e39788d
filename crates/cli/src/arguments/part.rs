use roundwise_convert::plan::Part;

/// Parses `3/16`; for `auto/16` the scheduler gives the number.
pub(super) fn parse_part(text: &str) -> Result<Part, String> {
    let Some(count) = text.strip_prefix("auto") else { return text.parse() };
    let number = job_number()?;
    let count = match count.strip_prefix('/') {
        Some(count) => count.to_owned(),
        // The count is trusted only for `--array=1-N`: an array that is submitted again for some parts
        // alone counts fewer of them.
        None if count.is_empty() && variable("SLURM_ARRAY_TASK_MIN").as_deref() == Some("1") => {
            let largest = variable("SLURM_ARRAY_TASK_MAX");
            let count =
                variable("SLURM_ARRAY_TASK_COUNT").filter(|count| largest.as_ref() == Some(count));
            count.ok_or("the array has gaps; say of how many parts: auto/16")?
        }
        None => return Err("say of how many parts: auto/16".to_owned()),
    };
    format!("{number}/{count}").parse()
}

/// Returns the number of this job: Slurm's arrays are numbered as asked for, Kubernetes' indexed
/// jobs from 0.
fn job_number() -> Result<u64, String> {
    let parsed = |name: &str, text: String| {
        text.parse::<u64>().map_err(|_| format!("{name} is `{text}`, which is no number"))
    };
    if let Some(text) = variable("SLURM_ARRAY_TASK_ID") {
        return match parsed("SLURM_ARRAY_TASK_ID", text)? {
            0 => Err("parts count from 1: `sbatch --array=1-16`".to_owned()),
            number => Ok(number),
        };
    }
    match variable("JOB_COMPLETION_INDEX") {
        Some(text) => Ok(parsed("JOB_COMPLETION_INDEX", text)?.saturating_add(1)),
        None => {
            Err("no SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX is set; say the part: 3/16".into())
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
