//! Values that JSON holds by their names.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use roundwise_layout::Layout;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a path as text. JSON has no place for names that are not Unicode; they must not spoil the
/// rest.
pub(crate) fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// Writes a value by its name.
pub(crate) fn name<N: Display, S: Serializer>(named: &N, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(named)
}

/// Writes a value by its name, where there is one.
pub(crate) fn optional_name<N: Display, S: Serializer>(
    named: &Option<N>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match named {
        Some(named) => to.collect_str(named),
        None => to.serialize_none(),
    }
}

/// Reads a value by its name, where there is one.
pub(crate) fn read_optional_name<'de, N: FromStr<Err: Display>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<N>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    name.map(|name| name.parse().map_err(D::Error::custom)).transpose()
}

/// Reads a path.
pub(crate) fn read_path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    String::deserialize(from).map(PathBuf::from)
}

/// Reads a layout by its name.
pub(crate) fn read_layout<'de, D: Deserializer<'de>>(from: D) -> Result<Layout, D::Error> {
    let name = String::deserialize(from)?;
    let found = Layout::NAMES.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, layout)| *layout)
        .ok_or_else(|| D::Error::custom(format!("unknown layout `{name}`")))
}
