//! Which file of a crate imports which: no circles, nothing from the crate root, rooms in order.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use imports::{Import, imports};

/// A crate whose files import each other in one direction.
struct Checked {
    /// Folder of its sources.
    sources: &'static str,
    /// Its folders, in levels: files import from their own folder and from those of earlier levels.
    /// Files beside `lib.rs` are in no folder, and may be imported from everywhere.
    rooms: &'static [&'static [&'static str]],
}

const LAYOUT: Checked = Checked {
    sources: "crates/layout/src",
    rooms: &[&["packing"], &["marker"], &["write", "read"]],
};

const CONVERT: Checked = Checked {
    sources: "crates/convert/src",
    rooms: &[&["model"], &["recipe"], &["source"], &["plan"], &["report"], &["run"], &["inspect"]],
};

/// Checks the crates whose files are in order.
///
/// # Errors
/// Every circle, every item from the crate root, and every import from a room that comes later.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut complaints = vec![];
    for Checked { sources, rooms } in [LAYOUT, CONVERT] {
        let files = sources_of(&workspace.path(sources))?;
        complaints.extend(
            complaints_about(&files, rooms).into_iter().map(|it| format!("{sources}: {it}")),
        );
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// The path of a module in its crate; none for the crate root.
type Module = Vec<String>;

/// Reads the source files of a crate, by the module that each is.
fn sources_of(folder: &Path) -> Result<BTreeMap<Module, String>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), Module::new())];
    while let Some((folder, module)) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("{}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let inside = |name: String| module.iter().cloned().chain([name]).collect();
            if path.is_dir() {
                folders.push((path, inside(name)));
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let is_of_folder = name == "mod" || module.is_empty() && name == "lib";
                let module = if is_of_folder { module.clone() } else { inside(name) };
                let text = std::fs::read_to_string(&path);
                files.insert(module, text.with_context(|| format!("{}", path.display()))?);
            }
        }
    }
    Ok(files)
}

/// Lists everything that is out of order, one line each.
fn complaints_about(files: &BTreeMap<Module, String>, rooms: &[&[&str]]) -> Vec<String> {
    let modules: BTreeSet<&Module> = files.keys().collect();
    let mut complaints = vec![];
    let mut arrows = BTreeMap::<Module, BTreeSet<Module>>::new();
    for (module, text) in files.iter().filter(|(module, _)| !module.is_empty()) {
        let children = modules
            .iter()
            .filter(|other| other.len() == module.len() + 1 && other.starts_with(module));
        let children = children.filter_map(|child| child.last().cloned()).collect();
        for Import { path } in imports(text, module, &children) {
            // Inside a module a path goes on to items: the longest prefix that is a file counts.
            let target = (0..=path.len()).rev().map(|length| path[..length].to_vec());
            let target = target.into_iter().find(|prefix| modules.contains(prefix));
            let target = target.unwrap_or_default();
            if target.is_empty() {
                let item = path.join("::");
                complaints.push(format!(
                    "{} imports `crate::{item}` from the crate root; name the module that has it",
                    file_of(module)
                ));
            } else if target != *module {
                complaints.extend(complaint_about_rooms(module, &target, rooms));
                arrows.entry(module.clone()).or_default().insert(target);
            }
        }
    }
    complaints.extend(circles(&arrows).into_iter().map(|circle| {
        let files: Vec<String> = circle.iter().map(file_of).collect();
        format!("files import each other in a circle: {}", files.join(" → "))
    }));
    complaints.sort();
    complaints.dedup();
    complaints
}

fn file_of(module: &Module) -> String {
    format!("{}.rs", module.join("/"))
}

fn complaint_about_rooms(from: &Module, to: &Module, rooms: &[&[&str]]) -> Option<String> {
    let level = |module: &Module| {
        let room = module.first()?.as_str();
        rooms.iter().position(|level| level.contains(&room))
    };
    let (Some(from_level), Some(to_level)) = (level(from), level(to)) else { return None };
    let is_in_order = from.first() == to.first() || to_level < from_level;
    (!is_in_order).then(|| {
        format!(
            "{} imports {}, whose folder does not come before its own",
            file_of(from),
            file_of(to)
        )
    })
}

/// Returns one circle for each group of files that reach each other, its first file repeated at the
/// end.
fn circles(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let mut circles = vec![];
    let mut told = BTreeSet::new();
    for start in arrows.keys() {
        if told.contains(start) {
            continue;
        }
        if let Some(circle) = shortest_circle(arrows, start) {
            told.extend(circle.iter().cloned());
            circles.push(circle);
        }
    }
    circles
}

/// Returns the shortest way along the arrows from a file back to it.
fn shortest_circle(
    arrows: &BTreeMap<Module, BTreeSet<Module>>,
    start: &Module,
) -> Option<Vec<Module>> {
    let mut came_from = BTreeMap::<&Module, &Module>::new();
    let mut reached = std::collections::VecDeque::from([start]);
    // Breadth first, so that the first way back is the shortest.
    while let Some(module) = reached.pop_front() {
        for next in arrows.get(module).into_iter().flatten() {
            if next == start {
                let mut way = vec![start.clone(), module.clone()];
                while let Some(before) = came_from.get(way.last()?) {
                    way.push((*before).clone());
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, module);
                reached.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(files: &[(&str, &str)], rooms: &[&[&str]]) -> Vec<String> {
        let module =
            |path: &str| path.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let files = files.iter().map(|(path, text)| (module(path), (*text).to_owned()));
        let root = (Module::new(), "mod a; mod b; pub use a::A;".to_owned());
        complaints_about(&files.chain([root]).collect(), rooms)
    }

    #[test]
    fn the_crates_of_this_workspace_are_in_order() {
        run(&Workspace::here()).unwrap();
    }

    #[test]
    fn one_direction_is_no_circle() {
        let files = [("a", "use crate::b::{B, c::C};"), ("b", "pub mod c;"), ("b/c", "struct C;")];
        assert_eq!(complaints(&files, &[]), Vec::<String>::new());
    }

    #[test]
    fn circles_are_told_with_their_files() {
        let files =
            [("a", "use crate::b::B;"), ("b", "mod c; use c::C;"), ("b/c", "use crate::a;")];
        assert_eq!(
            complaints(&files, &[]),
            ["files import each other in a circle: a.rs → b.rs → b/c.rs → a.rs"]
        );
        let child = [("b", "mod c; fn f() { c::g() }"), ("b/c", "use super::B;")];
        assert_eq!(
            complaints(&child, &[]),
            ["files import each other in a circle: b.rs → b/c.rs → b.rs"]
        );
    }

    #[test]
    fn items_of_the_crate_root_are_refused() {
        let files = [("a", "use crate::{B, b::C};"), ("b", "fn f() { super::a::g(); super::X }")];
        assert_eq!(
            complaints(&files[..1], &[]),
            [
                "a.rs imports `crate::B` from the crate root; name the module that has it",
                "a.rs imports `crate::b::C` from the crate root; name the module that has it",
            ]
        );
        let found = complaints(&files, &[]);
        assert!(found.iter().any(|it| it.contains("b.rs imports `crate::X`")), "{found:?}");
    }

    #[test]
    fn rooms_are_imported_in_their_order() {
        let rooms: [&[&str]; 2] = [&["a"], &["b", "c"]];
        let files = [("a/x", "use crate::b::y::Y;"), ("b/y", ""), ("c/z", "use crate::b::y::Y;")];
        assert_eq!(
            complaints(&files, &rooms),
            [
                "a/x.rs imports b/y.rs, whose folder does not come before its own",
                "c/z.rs imports b/y.rs, whose folder does not come before its own",
            ]
        );
        let allowed =
            [("a/x", ""), ("b/y", "use crate::a::x::X; use crate::b::w::W;"), ("b/w", "")];
        assert_eq!(complaints(&allowed, &rooms), Vec::<String>::new());
    }
}
