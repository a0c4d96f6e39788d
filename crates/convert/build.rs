//! Lists `presets/*.toml`, `kinds/*.toml` and `dialects/*.toml`, so that adding a model is adding one file.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    list("presets")?;
    list("kinds")?;
    list("dialects")
}

fn list(folder: &str) -> io::Result<()> {
    println!("cargo::rerun-if-changed={folder}");
    let place = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(folder);
    let mut paths =
        fs::read_dir(place)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();

    let mut list = String::from("[\n");
    for path in &paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // Spelled so that nothing of this machine gets into the generated file.
        let path = format!(r#"concat!(env!("CARGO_MANIFEST_DIR"), "/{folder}/{name}.toml")"#);
        list += &format!("    ({name:?}, include_str!({path})),\n");
    }
    let output = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(output.join(format!("{folder}.rs")), list + "]\n")
}
