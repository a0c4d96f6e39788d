//! Nodes are written where ComfyUI looks for them, and never over another's file.

use crate::tool::Folder;

const NODES: &str = "ComfyUI/custom_nodes/comfyui-roundwise";

#[test]
fn nodes_are_installed_once_for_all() {
    let folder = Folder::with("ComfyUI/custom_nodes/README.md", b"mine");
    let said = folder.done(&["comfy", "install", "ComfyUI"]);
    assert!(said.contains("comfyui-roundwise") && said.contains("restart ComfyUI"), "{said}");
    let files = ["__init__.py", "convert_file.py", "report.py", "roundwise_collect.py"];
    let written = folder.names().into_iter().filter(|name| name.starts_with(NODES));
    assert_eq!(written.collect::<Vec<_>>(), files.map(|file| format!("{NODES}/{file}")));
    let before = folder.snapshot();
    folder.done(&["comfy", "install", "ComfyUI/custom_nodes"]);
    assert_eq!(folder.snapshot(), before);
}

#[test]
fn nodes_of_another_version_are_replaced_on_request_alone() {
    let folder = Folder::with(&format!("{NODES}/report.py"), b"mine");
    folder.refused(
        &["comfy", "install", "ComfyUI"],
        1,
        &["report.py: exists already", "`--force`"],
    );
    // Nodes of two versions would not fit each other.
    assert_eq!(folder.names(), [format!("{NODES}/report.py")]);
    folder.done(&["comfy", "install", "ComfyUI", "--force"]);
    assert_ne!(folder.read(&format!("{NODES}/report.py")), b"mine");
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let folder = Folder::with("models/m.safetensors", b"");
    folder.refused(&["comfy", "install", "models"], 2, &["models: has no folder `custom_nodes`"]);
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let folder = Folder::new();
    folder.done(&["manual", "man"]);
    let names = folder.names();
    for page in ["roundwise.1", "roundwise-convert.1", "roundwise-stats-show.1"] {
        assert!(names.contains(&format!("man/{page}")), "{names:?}");
    }
    let page = String::from_utf8(folder.read("man/roundwise-convert.1")).unwrap();
    assert!(page.contains(".SH SYNOPSIS") && page.contains("memory\\-limit"));
}
