//! What fuzz targets share: a folder for the files that they are given, and containers around them.

mod archive;
mod scratch;

pub use archive::archive;
pub use scratch::put;
