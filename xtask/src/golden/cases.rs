//! What is recorded.

mod commands;
mod files;
mod flags;
mod methods;
mod schemes;

use super::case::Case;
use super::models::Models;

/// Every case, in the order of the record.
pub(crate) fn all(models: &Models) -> Vec<Case> {
    let probe = "convert small.safetensors --method principal --top-k 8";
    let mut cases = vec![Case::probe(&[probe])];
    cases.extend(schemes::cases());
    cases.extend(methods::cases());
    cases.extend(flags::cases());
    cases.extend(commands::cases());
    cases.extend(files::cases(models));
    cases
}
