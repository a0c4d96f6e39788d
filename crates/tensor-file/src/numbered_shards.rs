//! Shards by their names: `model-00002-of-00003.safetensors` is the second of three.

use std::path::Path;

/// A file that its name says is one of several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NumberedShard {
    /// The name before the number.
    base: String,
    /// The name behind the count.
    ending: String,
    /// How many there are.
    pub(crate) count: usize,
    pub(crate) number: usize,
    /// Digits of the number, and of the count: not all writers fill up both alike.
    widths: [usize; 2],
}

/// More files than any model has.
const MOST_SHARDS: usize = 4096;

impl NumberedShard {
    /// Reads the name of a file; `None` for one that is whole by its name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (before, rest) = name.rsplit_once("-of-")?;
        let (base, number) = before.rsplit_once('-')?;
        let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let (count, ending) = rest.split_at(digits);
        // `parse` takes a plus sign as well, which no shard has.
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let widths = [number.len(), count.len()];
        let count: usize = count.parse().ok().filter(|count| (2..=MOST_SHARDS).contains(count))?;
        let number_of: usize =
            number.parse().ok().filter(|at| is_number && (1..=count).contains(at))?;
        let (base, ending) = (base.to_owned(), ending.to_owned());
        Some(Self { base, ending, count, number: number_of, widths })
    }

    /// Reads the name of the file at a path.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        Self::of(path.file_name()?.to_str()?)
    }

    /// Returns the names of all shards of its model.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let Self { base, ending, count, widths: [width, of_count], .. } = self;
        let count_name = format!("{count:0of_count$}");
        (1..=*count).map(move |at| format!("{base}-{at:0width$}-of-{count_name}{ending}"))
    }

    /// Returns whether it has the name of a part that one of several machines made,
    /// `model.part-1-of-2`.
    pub(crate) fn is_part(&self) -> bool {
        self.base == "part" || self.base.ends_with(".part")
    }

    fn is_with(&self, other: &Self) -> bool {
        let parts = |it: &Self| (it.base.clone(), it.ending.clone(), it.count, it.widths);
        parts(self) == parts(other)
    }
}

/// Returns the shards of one model that some files are by their names, `None` where they are anything else.
pub(crate) fn of_one_model(names: &[String]) -> Option<NumberedShard> {
    let shards: Option<Vec<_>> = names.iter().map(|name| NumberedShard::of(name)).collect();
    let shards = shards?;
    let first = shards.first()?.clone();
    shards.iter().all(|shard| shard.is_with(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_number_and_a_count_are_shards() {
        let shard = NumberedShard::of("model-00002-of-00003.safetensors").unwrap();
        assert_eq!((shard.number, shard.count), (2, 3));
        let names: Vec<String> = shard.names().collect();
        assert_eq!(names[0], "model-00001-of-00003.safetensors");
        assert_eq!(names[2], "model-00003-of-00003.safetensors");
        let shard = NumberedShard::of("model-02-of-3.bin").unwrap();
        assert_eq!(shard.names().last().unwrap(), "model-03-of-3.bin");
        for name in [
            "model.safetensors",
            "model-00001-of-00001.safetensors",
            "model-00004-of-00003.safetensors",
            "model-00000-of-00003.safetensors",
            "a-of-b.safetensors",
            "model-1-of-99999999999999999999.safetensors",
            "best-of-5.safetensors",
        ] {
            assert_eq!(NumberedShard::of(name), None, "{name}");
        }
    }

    #[test]
    fn files_of_two_models_are_no_shards_of_one() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let one = names(&["a-1-of-2.bin", "a-2-of-2.bin"]);
        assert!(of_one_model(&one).is_some());
        for several in [
            names(&["a-1-of-2.bin", "b-2-of-2.bin"]),
            names(&["a-1-of-2.bin", "a-1-of-3.bin"]),
            names(&["a-1-of-2.bin", "a-1-of-2.fp16.bin"]),
            names(&["a-1-of-2.bin", "c.bin"]),
            names(&[]),
        ] {
            assert_eq!(of_one_model(&several), None, "{several:?}");
        }
    }
}
