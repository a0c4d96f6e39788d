// Choosing a file: path, folder, recent ones, dropped ones.

import { get } from "../api.js";
import { element, fill } from "../element.js";
import { fileName, folderName } from "../format.js";
import { remember, visit } from "../route.js";
import { button, folderList, lineInput, notice, unquoted } from "../widgets.js";

const KINDS = ["model", "statistics", "report"];

const NOT_THERE = (name) => ({ message: `${name} is not there, or no model, no statistics and no report`, help: WHAT_IS });
const NO_MODEL = (name) => ({ message: `${name} is no model, no statistics and no report`, help: WHAT_IS });
const WHAT_IS =
  "Models are .safetensors, .gguf, .pt, .pth, .ckpt and .bin files, and folders of them. What else lies beside it:";

/** The page that a file of a kind is opened on. */
export function visitFile(path, kind) {
  if (kind === "statistics") visit("statistics", { path });
  else if (kind === "report") visit("report", { path });
  else visit("plan", { input: path });
}

/** Open. `path`: a file or a folder; `go`: whether a file is opened at once. */
export function openPage({ path, go }, { vocabulary }) {
  const start = path ?? vocabulary.start ?? undefined;
  const said = element("div");
  const input = lineInput({ id: "path", placeholder: "/models/flux1-dev.safetensors" });
  const recent = element("section.recent", { hidden: true });
  const list = folderList({
    path: start, kinds: KINDS, pick: (entry) => visitFile(entry.path, entry.kind),
    pickFolder: (folder) => visitFile(folder, "model"), told
  });
  const form = element("form.path-form", { onsubmit: (event) => (event.preventDefault(), open(input.value)) },
    element("label", { for: "path" }, "Path of a model, a folder, statistics or a report"),
    element("div.line", input, element("button.main", "Open")),
    element("p.help", "Or drop a file here, or choose one below. Only headers are read until a job starts."));

  function told(answer) {
    const selected =
      answer.entries.find((entry) => go && (entry.path === start || (answer.selected && entry.name === answer.selected)));
    if (go) remember("open", { path: start });
    if (go && !selected && answer.path !== start) fill(said, notice(NOT_THERE(fileName(start))));
    // Once: later folders are looked at, not opened.
    go = null;
    if (selected && selected.kind !== "folder") return visitFile(selected.path, selected.kind);
    remember("open", { path: answer.path });
    showRecent(answer.recent ?? []);
  }
  function showRecent(paths) {
    recent.hidden = paths.length === 0;
    fill(recent, element("h2", "Recent"),
      element("ul",
        paths.map(
          (recentPath) => element("li", button(fileName(recentPath), () => open(recentPath), { class: "link", title: recentPath }),
            element("span.quiet", ` ${folderName(recentPath)}`)))));
  }
  async function open(typed) {
    const wanted = unquoted(typed);
    fill(said);
    if (!wanted) return;
    try {
      const folder = await get("/api/folder", { path: wanted });
      const entry = folder.entries.find((candidate) => candidate.path === wanted || candidate.name === folder.selected);
      if (entry && entry.kind !== "folder" && folder.path !== wanted) visitFile(entry.path, entry.kind);
      else if (folder.is_model) visitFile(folder.path, "model");
      else {
        list.go(folder.path);
        if (folder.selected) fill(said, notice(NO_MODEL(folder.selected)));
      }
    } catch (error) {
      // What the list of a folder does not know may still be a file that can be opened, such as an index.
      if (error.kind === "file") return visitFile(wanted, "model");
      fill(said, notice({ message: error.message, help: error.help }));
    }
  }
  async function dropped(event) {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (!file) return;
    const { paths } = await get("/api/find", { name: file.name, bytes: file.size }).catch(() => ({ paths: [] }));
    if (paths.length === 1) return open(paths[0]);
    if (paths.length === 0)
      fill(said, notice({
        message: `${file.name} is in none of the folders that were shown`,
        help: "Browsers do not tell where a dropped file lies: paste its path."
      }));
    else
      fill(
        said, element("p", "Which one? "), paths.map((found) => element("p", button(found, () => open(found), { class: "link" }))));
    input.focus();
  }
  const node = element("div.drop", { ondragover: (event) => event.preventDefault(), ondrop: dropped }, form, said,
    element("div.columns", list.node, recent));
  return { title: "Open", node };
}
