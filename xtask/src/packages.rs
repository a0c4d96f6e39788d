//! Packages every crate that can be published, and looks at what is in the packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::command;
use crate::workspace::Workspace;

/// Files that every package brings with it.
const TEXTS: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// The entry of a crate in `cargo metadata`.
#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    /// Registries that it may be published in; an empty list allows none.
    publish: Option<Vec<String>>,
    description: Option<String>,
    repository: Option<String>,
    keywords: Vec<String>,
    categories: Vec<String>,
}

/// Packages the workspace without building the packages, which would compile every dependency once
/// more, in another profile. What makes such a build fail on a user's machine and not here is
/// a file outside the package, so each file that the sources include is looked for.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let metadata = ["metadata", "--no-deps", "--format-version", "1"];
    let metadata: Metadata =
        serde_json::from_str(&command::output(&mut workspace.cargo(&metadata))?)?;
    let is_published = |package: &Package| package.publish.as_ref().is_none_or(|to| !to.is_empty());
    let (published, private): (Vec<_>, Vec<_>) =
        metadata.packages.into_iter().partition(is_published);

    let mut package = workspace.cargo(&["package", "--workspace", "--no-verify", "--allow-dirty"]);
    package.arg("--quiet").args(private.iter().flat_map(|one| ["--exclude", &one.name]));
    command::run(&mut package)?;
    for package in &published {
        package.check(workspace).with_context(|| package.name.clone())?;
    }
    println!("{} packages; private: {}", published.len(), names(&private));
    Ok(())
}

fn names(packages: &[Package]) -> String {
    packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl Package {
    fn check(&self, workspace: &Workspace) -> Result<()> {
        for (key, is_set) in [
            ("description", self.description.is_some()),
            ("repository", self.repository.is_some()),
            ("keywords", !self.keywords.is_empty()),
            ("categories", !self.categories.is_empty()),
        ] {
            ensure!(is_set, "{} has no {key}", self.manifest_path.display());
        }
        let list = ["package", "--list", "--quiet", "--allow-dirty", "--package", &self.name];
        let list = command::output(&mut workspace.cargo(&list))?;
        let files: BTreeSet<PathBuf> = list.lines().map(PathBuf::from).collect();
        for text in TEXTS {
            ensure!(
                files.contains(Path::new(text)),
                "{text} is not packaged; link `../../{text}` or inherit `readme`"
            );
        }
        let folder = self.manifest_path.parent().context("a manifest lies in a folder")?;
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
            for included in included(&fs::read_to_string(folder.join(file))?) {
                let path = resolved(file, &included);
                if !path.as_ref().is_some_and(|path| files.contains(path)) {
                    bail!("{} includes `{included}`, which is not packaged", file.display());
                }
            }
        }
        Ok(())
    }
}

/// Returns the files that a source includes by a literal path.
fn included(source: &str) -> Vec<String> {
    let calls = ["include!(", "include_str!(", "include_bytes!("];
    let after = calls.iter().flat_map(|call| source.split(call).skip(1));
    let literals = after.filter_map(|text| text.trim_start().strip_prefix('"')?.split_once('"'));
    literals.map(|(path, _)| path.to_owned()).collect()
}

/// Returns a path beside a file of the package, from the package's folder; `None` outside of it.
fn resolved(file: &Path, beside: &str) -> Option<PathBuf> {
    let mut path = file.parent()?.to_owned();
    for part in Path::new(beside).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_files_are_found_inside_the_package_alone() {
        let source = "const A: &str = include_str!(\"../data/a.py\"); include_bytes!(\n \"b\")";
        assert_eq!(included(source), ["../data/a.py", "b"]);
        let file = Path::new("src/lib.rs");
        assert_eq!(resolved(file, "../data/a.py"), Some("data/a.py".into()));
        assert_eq!(resolved(file, "../../outside"), None);
    }
}
