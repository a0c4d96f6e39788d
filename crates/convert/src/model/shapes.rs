use std::collections::BTreeMap;
use std::ops::Bound;

use memchr::memmem;

/// Names and shapes of all tensors of a model, which is everything that detection may look at.
#[derive(Debug, Clone, Default)]
pub struct Shapes<'a> {
    shapes: BTreeMap<&'a str, &'a [u64]>,
    /// All names, each with [`SEPARATOR`] behind it: some hundred conditions look for parts of names, and one
    /// search through all of them takes far less time than one in each.
    text: String,
    /// Where the separator of each name stands.
    ends: Vec<usize>,
}

/// No part of a name that a condition looks for has it; a name that does is still found by where it ends.
const SEPARATOR: char = '\n';

impl<'a> FromIterator<(&'a str, &'a [u64])> for Shapes<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u64])>>(tensors: I) -> Self {
        let shapes: BTreeMap<&str, &[u64]> = tensors.into_iter().collect();
        let (mut text, mut ends) = (String::new(), Vec::with_capacity(shapes.len()));
        for name in shapes.keys() {
            text.push_str(name);
            ends.push(text.len());
            text.push(SEPARATOR);
        }
        Self { shapes, text, ends }
    }
}

impl<'a> Shapes<'a> {
    /// Returns the shape of the tensor called `name`.
    pub fn shape(&self, name: &str) -> Option<&'a [u64]> {
        self.shapes.get(name).copied()
    }

    /// Returns all names in byte order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.shapes.keys().copied()
    }

    /// Returns the names that start with `start`, in byte order.
    pub fn starting_with(&self, start: &str) -> impl Iterator<Item = &'a str> {
        let from = (Bound::Included(start), Bound::Unbounded);
        let names = self.shapes.range::<str, _>(from).map(|(name, _)| *name);
        names.take_while(move |name| name.starts_with(start))
    }

    /// Returns the first name, in byte order, that holds `part`.
    pub(crate) fn first_holding(&self, part: &str) -> Option<&str> {
        let places = memmem::find_iter(self.text.as_bytes(), part);
        places.map(|place| self.name_at(place).1).find(|name| name.contains(part))
    }

    /// Returns the names that end with `end`, in byte order.
    pub(crate) fn ending_with(&self, end: &str) -> Vec<&str> {
        let wanted = format!("{end}{SEPARATOR}");
        let places = memmem::find_iter(self.text.as_bytes(), &wanted);
        let name = |place| {
            let (ends_at, name) = self.name_at(place);
            (ends_at == place + end.len()).then_some(name)
        };
        places.filter_map(name).collect()
    }

    /// Returns where the name ends that a place in the text belongs to, and the name.
    fn name_at(&self, place: usize) -> (usize, &str) {
        let index = self.ends.partition_point(|end| *end < place);
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        (self.ends[index], &self.text[start..self.ends[index]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names_are_found_in_no_two_of_them_together() {
        let names = ["a.weight", "b.bias\nc", "b.weight", "net.a.weight", "weight"];
        let shapes: Shapes<'_> = names.iter().map(|name| (*name, &[1][..])).collect();
        assert_eq!(shapes.first_holding("b."), Some("b.bias\nc"));
        assert_eq!(shapes.first_holding("t.a"), Some("net.a.weight"));
        assert_eq!(shapes.first_holding("weightb"), None);
        assert_eq!(
            shapes.ending_with("weight"),
            ["a.weight", "b.weight", "net.a.weight", "weight"]
        );
        assert_eq!(shapes.ending_with("a.weight"), ["a.weight", "net.a.weight"]);
        // A line that ends is not a name that does.
        assert!(shapes.ending_with("bias").is_empty());
        assert!(Shapes::default().ending_with("weight").is_empty());
    }
}
