use std::path::PathBuf;

/// Writes a file of this process alone, and gives its path.
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("roundwise-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("the folder can be written");
    path
}
