// Fields with their complaints, dialogs, the list of a folder.

import { get } from "./api.js";
import { table } from "./charts/table.js";
import { element, fill } from "./element.js";
import { bytes, fileName, folderName, joined } from "./format.js";

let fields = 0;

/**
 * A control with its label, a line of help and a place for complaints.
 *
 * - `key`: the setting that complaints name
 */
export function field({ label, key, control, help, beside, wide }) {
  const id = `field-${(fields += 1)}`;
  control.id = id;
  control.dataset.field = key ?? "";
  const described = [help && `${id}-help`, `${id}-problem`].filter(Boolean).join(" ");
  control.setAttribute("aria-describedby", described);
  const isBox = control.type === "checkbox";
  const name = element("label", { for: id }, label);
  return element("div", { class: `field${isBox ? " box" : ""}${wide ? " wide" : ""}` },
    isBox ? [element("div.line", control, name)] : [name, element("div.line", control, beside)],
    help && element("p.help", { id: `${id}-help` }, help),
    element("p.problem", { id: `${id}-problem`, hidden: true }));
}

/** Puts complaints at their fields, opens what hides them, and returns those that have none. */
export function complain(root, complaints) {
  const controls = [...root.querySelectorAll("[data-field]")];
  for (const control of controls) setProblem(control, []);
  const rest = [];
  const found = new Map();
  for (const { field: key, problem } of complaints) {
    const control = controlOf(controls, key);
    if (control) found.set(control, [...(found.get(control) ?? []), problem]);
    else rest.push(problem);
  }
  for (const [control, problems] of found) setProblem(control, problems);
  return rest;
}

function controlOf(controls, key) {
  // `rules[0].scheme` is told at `rules`, where it has no field of its own.
  for (let path = key ?? ""; path; path = path.replace(/(\[\d+\]|\.[^.[]*|^[^.[]*)$/, "")) {
    const control = controls.find((candidate) => candidate.dataset.field === path);
    if (control) return control;
  }
  return null;
}

function setProblem(control, problems) {
  const place = document.getElementById(`${control.id}-problem`);
  if (!place) return;
  place.hidden = problems.length === 0;
  fill(place, lines(problems.join("\n")));
  // What points at a place in a line is only right where all letters are equally wide.
  place.classList.toggle("pointing", problems.some((problem) => /\n\s*\^/.test(problem)));
  if (problems.length === 0) return control.removeAttribute("aria-invalid");
  control.setAttribute("aria-invalid", "true");
  for (let hiding = control.closest("details"); hiding; hiding = hiding.parentElement.closest("details")) hiding.open = true;
}

/** Text with its line breaks. */
export function lines(text) {
  return String(text).split("\n").map((line, index) => [index > 0 && element("br"), line]);
}

/** What went wrong, what helps, and buttons for it. */
export function notice(error, ...buttons) {
  return element("div.notice", { role: "alert" }, element("p", element("strong", lines(error.message))),
    error.help && element("p", lines(error.help)),
    // One that is all of the message has been said.
    (error.complaints ?? []).filter(({ problem }) => problem !== error.message).map(
      ({ field: key, problem }) => element("p", key ? `${key}: ` : "", lines(problem))),
    buttons.length > 0 && element("p.actions", buttons));
}

/** Does something; what goes wrong is said in a place. */
export async function attempt(place, work) {
  fill(place);
  try {
    await work();
  } catch (error) {
    fill(place, notice(error));
  }
}

/** Puts a refusal at the fields that it names, or into a place where it names none. */
export function refuse(root, place, error) {
  const rest = complain(root, error.complaints ?? []);
  if (rest.length || !error.complaints?.length) fill(place, notice(error));
}

/** A sentence that says whether something is as it should be. */
export function verdict(isGood, text) {
  return element("p", { class: `verdict ${isGood ? "good" : "bad"}`, role: "status" },
    element("span", { "aria-hidden": "true" }, isGood ? "✓ " : "✗ "), text);
}

/** A field for a line of text. */
export function lineInput(attributes) {
  return element("input", { type: "text", spellcheck: "false", autocomplete: "off", ...attributes });
}

/** A button. */
export function button(label, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, label);
}

/** A choice; an option is a name or `[value, label]`. */
export function choice(options, value, onchange, attributes = {}) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  const control = element("select", { onchange: () => onchange(control.value), ...attributes },
    pairs.map(([name, label]) => element("option", { value: name }, label)));
  control.value = value;
  return control;
}

/** Asks something; resolves to the value of the button, or null. A button is `[value, label]`, the first one is the default. */
export async function ask(title, content, buttons) {
  const made = buttons.map(
    ([value, label], index) => element("button", { type: "submit", value, class: index === 0 ? "main" : null }, label));
  const box = element("dialog", element("form", { method: "dialog" }, element("h2", title), content, element("p.actions", made)));
  await shown(box, title);
  return box.returnValue || null;
}

/** Asks whether a file is replaced. */
export async function mayReplace(message, otherwise = "Cancel") {
  const buttons = [["cancel", otherwise], ["replace", "Replace it"]];
  return (await ask("Replace the file?", element("p", message), buttons)) === "replace";
}

/** Shows a dialog until it is closed. */
function shown(box, title) {
  return new Promise((resolve) => {
    box.setAttribute("aria-label", title);
    // A question of a page that is left has no answer.
    const leave = () => box.close();
    addEventListener("hashchange", leave);
    box.addEventListener("close", () => (removeEventListener("hashchange", leave), box.remove(), resolve()));
    document.body.append(box);
    box.showModal();
  });
}

/**
 * A text field for a path, with a dialog to choose one. Changes are told when the field is left or on Enter.
 *
 * - `named()`: name of a file in a folder that is chosen, where it is not the folder itself that is meant
 */
export function pathField({ label, key, value, help, kinds, placeholder, named, wide = true, onchange }) {
  const control = lineInput({ value: value ?? "", placeholder, onchange: () => onchange((control.value = unquoted(control.value))) });
  const choose = async () => {
    const picked = await pickPath({ title: label, from: control.value || (named ? control.placeholder : ""), kinds });
    if (picked === null) return;
    control.value = picked.isFolder && named ? joined(picked.path, named()) : picked.path;
    onchange(control.value);
  };
  return {
    control,
    node: field({ label, key, control, help, wide, beside: button("Choose…", choose, { "aria-label": `Choose: ${label}` }) })
  };
}

/** Lets somebody choose a file of some kinds, or a folder; resolves to `{ path, isFolder }`, or null where nothing was chosen. */
export async function pickPath({ title, from, kinds }) {
  let picked = null;
  const close = (path, isFolder) => ((picked = { path, isFolder }), box.close());
  const list = folderList({
    path: from || undefined, kinds, pick: ({ path }) => close(path, false),
    pickFolder: kinds.includes("folder") ? (path) => close(path, true) : null
  });
  const box =
    element("dialog.large", element("h2", title), list.node, element("p.actions", button("Cancel", () => box.close())));
  await shown(box, title);
  return picked;
}

/**
 * The list of a folder.
 *
 * - `kinds`: of files that are shown
 * - `pick(entry)`: gets a chosen file
 * - `pickFolder(path)`: gets the folder itself, where folders can be chosen or one is a model
 * - `told(answer)`: gets every folder that is shown
 */
export function folderList({ path, kinds, pick, pickFolder, told }) {
  const place = element("div.folder");
  let listed = null;
  const go = async (to) => {
    try {
      listed = await get("/api/folder", { path: to });
      told?.(listed);
      fill(place, describe(listed));
    } catch (error) {
      const back = listed ? button("Back", () => go(listed.path)) : button("Home", () => go(undefined));
      fill(place, notice(error, to !== undefined && back));
    }
  };
  const wanted = [...kinds.filter((kind) => kind !== "folder"), "folder"].join(", ").replace(/, (\w+)$/, " or $1");
  function describe({ path: here, parent, roots, entries, free_bytes, is_truncated, is_model }) {
    const files = entries.filter((entry) => entry.kind === "folder" || kinds.includes(entry.kind));
    const isChoosable = pickFolder && (is_model || kinds.includes("folder"));
    return [
      element("div.bar", parent && button("↑ Up", () => go(parent), { class: "small", title: parent }), element("span.path", here),
        isChoosable &&
          button(is_model ? "Open this folder as a model" : "Choose this folder", () => pickFolder(here), { class: "small" })),
      roots?.length > 1 && element("p.quiet.roots", roots.map((root) => button(root, () => go(root), { class: "link" }))),
      files.length > 0
        ? table({
            label: `Files in ${fileName(here) || here}`, kind: "files", head: ["Name", "What", "Size", "Changed"], numbers: ["Size"],
            rows: files.map(row), tall: true
          })
        : element("p.empty", `There is no ${wanted} here.`),
      element("p.quiet", [
        Number.isFinite(free_bytes) && `${bytes(free_bytes)} free`, is_truncated && "only the first 5,000 entries are shown"
      ].filter(Boolean).join(" · ")),
    ];
  }
  function row(entry) {
    const open = () => (entry.kind === "folder" ? go(entry.path) : pick(entry));
    const changed = entry.modified ? new Date(entry.modified * 1000).toISOString().slice(0, 10) : "";
    const name = entry.kind === "folder" ? `${entry.name}/` : entry.name;
    return element("tr",
      element("td", button(name, open, { class: "link" }), entry.is_link && element("span.quiet", " → link")),
      element("td.quiet", entry.kind),
      element("td.number", entry.kind === "folder" ? "" : bytes(entry.bytes)), element("td.quiet", changed));
  }
  go(path && /\.(safetensors|json|gguf|pt|pth|ckpt|bin)$/i.test(path) ? folderName(path) : path);
  return { node: place, go };
}

/** Gives the user a file. */
export function save(name, text, kind) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  const link = element("a", { href: address, download: name });
  link.click();
  // A download that has not begun would find nothing.
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** A path as it was copied: file managers put quotes or `file://` around it. */
export function unquoted(text) {
  const bare = text.trim().replace(/^(["'])(.*)\1$/, "$2");
  if (!bare.startsWith("file://")) return bare;
  try {
    // `file:///C:/m` is a path of Windows.
    return decodeURIComponent(bare.slice(7)).replace(/^\/(?=[A-Za-z]:)/, "");
  } catch {
    return bare;
  }
}

/** A button that copies a text. */
export function copyButton(text) {
  const made = button("Copy", async () => {
    await navigator.clipboard.writeText(text);
    fill(made, "Copied");
    setTimeout(() => fill(made, "Copy"), 1500);
  }, { class: "small" });
  return made;
}

/** Builds anew what is in a place; the focus stays on the control of the same name, or in the same row. */
export function keepingFocus(place, build) {
  const active = place.contains(document.activeElement) ? document.activeElement : null;
  const nameOf = (control) => control.getAttribute("aria-label") ?? control.textContent;
  const [name, row] = [active && nameOf(active), active?.closest("[data-kind]")?.dataset.kind];
  build();
  if (!active || place.contains(document.activeElement)) return;
  const controls = [...place.querySelectorAll("button, select, input, [tabindex='0']")];
  const again = controls.find((control) => nameOf(control) === name) ??
    controls.find((control) => row !== undefined && control.closest("[data-kind]")?.dataset.kind === row);
  again?.focus({ preventScroll: true });
}
