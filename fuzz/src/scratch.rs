//! A folder in memory for the file that a target is given.

use std::path::PathBuf;

/// Writes a file of this process alone, and gives its path.
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = scratch();
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("the scratch folder can be written");
    path
}

/// The folder, made when it is not there.
pub fn scratch() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    let root = if shared.is_dir() { shared } else { std::env::temp_dir() };
    let folder = root.join(format!("roundwise-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the scratch folder can be made");
    folder
}
