//! Files that hold one device's share of a model, told by their names and by what lies beside them.

use std::ffi::OsStr;
use std::path::Path;

/// What stands before the number of a device: torch.distributed, Megatron and DeepSpeed, and Meta's Llama.
const BEFORE: [&str; 5] = ["rank-", "rank_", "rank", "consolidated.", "consolidated_"];

/// Returns the number of the device whose share of a model a file is.
///
/// A number alone says nothing (`lora_rank_16`): the name tells how many devices there are, or the share of another
/// one lies beside, in a file or in a folder that is called alike.
pub(crate) fn rank_of(path: &Path) -> Option<usize> {
    let name = path.file_name().and_then(OsStr::to_str)?;
    let beside = |other: &str| path.with_file_name(other).exists();
    if let Some(rank) = rank_in(name, beside) {
        return Some(rank);
    }
    let folder = path.parent()?;
    let name = folder.file_name().and_then(OsStr::to_str)?;
    rank_in(name, |other| folder.with_file_name(other).is_dir())
}

fn rank_in(name: &str, is_beside: impl Fn(&str) -> bool) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    // Only at the beginning of a word: `frank1` is a name.
    let begins = |at: &usize| !lower[..*at].ends_with(|before: char| before.is_alphanumeric());
    let places = BEFORE.iter().flat_map(|before| {
        let found = lower.match_indices(before).map(|(at, _)| at);
        found.filter(begins).map(|at| at + before.len())
    });
    places.into_iter().find_map(|at| {
        let (start, rest) = name.split_at(at);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, end) = rest.split_at(digits);
        let rank: usize = number.parse().ok()?;
        // Device 0 has device 1 beside it, and all others have device 0.
        let other = usize::from(rank == 0);
        let is_told = devices(end).is_some_and(|devices| devices > 1 && rank < devices);
        (is_told || is_beside(&format!("{start}{other:0digits$}{end}"))).then_some(rank)
    })
}

/// Returns how many devices there are, of what follows a number: `-of-8.safetensors`.
fn devices(end: &str) -> Option<usize> {
    let after = end.strip_prefix("-of-").or_else(|| end.strip_prefix("_of_"))?;
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    after[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_model_is_told_by_its_name_and_by_others_beside_it() {
        let nothing = |_: &str| false;
        assert_eq!(rank_in("model-rank-1-of-2.safetensors", nothing), Some(1));
        assert_eq!(rank_in("model-rank-0-of-1.safetensors", nothing), None);
        for (name, other, rank) in [
            ("mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt", 0),
            ("mp_rank_13", "mp_rank_00", 13),
            ("consolidated.00.pth", "consolidated.01.pth", 0),
            ("model_rank1.safetensors", "model_rank0.safetensors", 1),
        ] {
            assert_eq!(rank_in(name, |beside| beside == other), Some(rank), "{name}");
            assert_eq!(rank_in(name, nothing), None, "{name}");
        }
        for name in ["lora_rank_32.safetensors", "rank_.safetensors", "é.pt"] {
            assert_eq!(rank_in(name, nothing), None, "{name}");
        }
        assert_eq!(rank_in("frank1.safetensors", |_| true), None);
        assert_eq!(rank_in("lora_rank16_rank-1-of-2.safetensors", nothing), Some(1));
    }
}
