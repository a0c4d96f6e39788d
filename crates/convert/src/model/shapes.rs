use std::collections::BTreeMap;
use std::ops::Bound;

/// Names and shapes of all tensors of a model, which is everything that detection may look at.
#[derive(Debug, Clone, Default)]
pub struct Shapes<'a>(BTreeMap<&'a str, &'a [u64]>);

impl<'a> FromIterator<(&'a str, &'a [u64])> for Shapes<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u64])>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

impl<'a> Shapes<'a> {
    /// Returns the shape of the tensor called `name`.
    pub fn shape(&self, name: &str) -> Option<&'a [u64]> {
        self.0.get(name).copied()
    }

    /// Returns all names in byte order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().copied()
    }

    /// Returns the names that start with `start`, in byte order.
    pub fn starting_with(&self, start: &str) -> impl Iterator<Item = &'a str> {
        let from = (Bound::Included(start), Bound::Unbounded);
        let names = self.0.range::<str, _>(from).map(|(name, _)| *name);
        names.take_while(move |name| name.starts_with(start))
    }
}
