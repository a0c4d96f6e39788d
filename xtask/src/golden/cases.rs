//! The cases of the record.

mod commands;
mod files;
mod flags;
mod methods;
mod schemes;

use super::case::Case;
use super::models::Models;

/// Learned codes of a real layer. They differ between AVX2 and AVX-512, as those of small models do not.
const PROBE: [&str; 2] = [
    "convert layer.safetensors -o a.safetensors --method principal --top-k 16 --effort fast",
    "convert layer.safetensors -o b.safetensors --method adaround-fast --iterations 5",
];

/// Returns every case, in the order of the record.
pub(crate) fn all(models: &Models) -> Vec<Case> {
    let mut cases = vec![Case::probe(&PROBE)];
    cases.extend(schemes::cases());
    cases.extend(methods::cases());
    cases.extend(flags::cases());
    cases.extend(commands::cases());
    cases.extend(files::cases(models));
    cases
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn cases_have_folders_of_their_own_and_names_without_spaces() {
        let cases = all(&Models::of(&Workspace::here()).unwrap());
        let folders: BTreeSet<_> = cases.iter().map(|case| case.folder(Path::new(""))).collect();
        assert_eq!(folders.len(), cases.len());
        assert!(cases.iter().all(|case| !case.name.contains(char::is_whitespace)));
    }
}
