//! Shared by the fuzz targets: a folder for the files they are given, and containers around them.

mod archive;
mod scratch;

pub use archive::archive;
pub use scratch::put;
