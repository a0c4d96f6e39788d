use std::fmt;

use serde::{Serialize, Serializer};

/// Path of a setting: `scheme`, `keep[0]`, `rules[1].scheme`, `method_options.top_p`.
///
/// Keys are those of a [`RecipeFile`](crate::recipe::RecipeFile), or fields of a
/// [`Job`](crate::run::Job) such as `starts_over` and `limits.memory_bytes`. What a front end calls a
/// setting, `--keep` or the label of a field, is its own affair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Setting {
    key: String,
    entry: Option<usize>,
    field: Option<&'static str>,
}

impl Setting {
    /// Names a setting by its key.
    ///
    /// - `key`: with the table that it is in, such as `edit.set`
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), entry: None, field: None }
    }

    /// Names an entry of a list, counted from 0.
    #[must_use]
    pub fn at(self, entry: usize) -> Self {
        Self { entry: Some(entry), ..self }
    }

    /// Names a field of an entry.
    #[must_use]
    pub fn field(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// Returns the key, with the table that it is in.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the number of the entry, where the setting is a list.
    pub fn entry(&self) -> Option<usize> {
        self.entry
    }
}

impl From<&str> for Setting {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(entry) = self.entry {
            write!(f, "[{entry}]")?;
        }
        self.field.map_or(Ok(()), |field| write!(f, ".{field}"))
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
