//! Notes for the reader on how adapters were merged.

use std::fmt;
use std::path::PathBuf;

use crate::source::adapter::scale::ScaleSource;

/// Where an adapter's factors were taken from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdapterNote {
    /// The adapter.
    pub(super) path: PathBuf,
    /// Number of changes.
    pub(super) changes: usize,
    pub(super) source: ScaleSource,
    /// The least and the greatest factor, without the strength.
    pub(super) factors: [f32; 2],
}

impl fmt::Display for AdapterNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, changes, source, factors: [least, greatest] } = self;
        let them = if *changes == 1 { "change" } else { "changes" };
        write!(f, "{}: {changes} {them} with factor {least}", path.display())?;
        if least != greatest {
            write!(f, " to {greatest}")?;
        }
        write!(f, " ({source})")
    }
}
