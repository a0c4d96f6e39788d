// Kinds of layers, each with what becomes of it and why; a click writes the rule.

import { post } from "../api.js";
import { table } from "../charts/table.js";
import { element, fill } from "../element.js";
import { becomes, bytes, bytesChange, counted, elements, shape, whole } from "../format.js";
import { column, longTable, numbers } from "../long_table.js";
import { ask, button, choice, keepingFocus, notice } from "../widgets.js";
import { body } from "./plan.js";

/** Makes the table of a plan; `update(plan)` shows one. */
export function kindsView(state, vocabulary, changed) {
  const opened = new Set();
  const view = { text: "", isAll: false, hasOthers: false, table: null };
  const counter = element("span.quiet", { role: "status" });
  const input = element("input",
    { type: "search", class: "filter", placeholder: "Filter", "aria-label": "Filter tensors", oninput: () => filter(input.value) });
  const box = element("input", { type: "checkbox", id: "all-tensors", onchange: () => ((view.isAll = box.checked), show()) });
  const place = element("div");
  const node = element("section.kinds", { hidden: true }, element("h2", "What becomes of each kind of layer"),
    element("div.bar", input, counter, element("span.switch", box, element("label", { for: "all-tensors"
    }, "all tensors"))), place);

  function update() {
    node.hidden = false;
    show();
  }
  function show() {
    keepingFocus(place, view.isAll ? showAll : showKinds);
  }
  function filter(text) {
    view.text = text;
    view.isAll ? view.table.filter(text) : showKinds();
  }
  function showAll() {
    const { tensors } = state.plan;
    view.table = longTable({ label: "All tensors", rows: tensors, open: explain, columns: TENSOR_COLUMNS, count: told });
    fill(place, view.table.node);
    if (view.text) view.table.filter(view.text);
  }
  function showKinds() {
    const { kinds, tensors } = state.plan;
    const words = view.text.toLowerCase().split(/\s+/).filter(Boolean);
    const members = kinds.map(() => []);
    for (const tensor of tensors) members[tensor.kind]?.push(tensor);
    const holds = (kind, index) => {
      const text = `${kind.pattern}\n${kind.reason}\n${kind.becomes}\n${shape(kind.shape)}`.toLowerCase();
      return words.every((word) => text.includes(word)) ||
        members[index].some((tensor) => words.every((word) => tensor.name.toLowerCase().includes(word)));
    };
    const shown = kinds.map((kind, index) => ({ kind, index })).filter(({ kind, index }) => holds(kind, index));
    const isOther = ({ kind }) => !canHaveScheme(kind);
    const [weights, others] = [shown.filter((entry) => !isOther(entry)), shown.filter(isOther)];
    // What is converted comes first; norms and biases are looked at by few.
    weights.sort((a, b) => Number(Boolean(b.kind.scheme)) - Number(Boolean(a.kind.scheme)));
    const areOthersShown = view.hasOthers || words.length > 0 || weights.length === 0;
    const listed = areOthersShown ? [...weights, ...others] : weights;
    const rows = listed.map(({ kind, index }) => kindRows(kind, members[index]));
    const toggle = () => ((view.hasOthers = !view.hasOthers), show());
    const more = others.length > 0 && weights.length > 0 && words.length === 0 &&
      button(view.hasOthers ? "Hide what is no weight" : `Show ${counted(others.length, "more kind")}: ${describeOthers(others)}`,
        toggle, { class: "small" });
    const head = ["Kind", "Shape", "Count", "Size", "Becomes", "Why"];
    fill(place, table({ label: "Kinds of layers", kind: "kinds", head, numbers: ["Count", "Size"], rows }),
      more || null, shown.length === 0 && element("p.quiet", "Nothing matches."));
    told(shown.length, kinds.length);
  }
  function told(shown, all) {
    fill(counter,
      shown === all ? counted(all, view.isAll ? "tensor" : "kind")
                    : `${whole(shown)} of ${counted(all, view.isAll ? "tensor" : "kind")}`);
  }
  function kindRows(kind, members) {
    const id = kind.regex ?? kind.pattern;
    const isOpen = () => opened.has(id);
    const toggle = () => (opened.has(id) ? opened.delete(id) : opened.add(id), show());
    const size = bytesChange(kind.bytes, kind.output_bytes);
    const name = button([element("span.twist", { "aria-hidden": "true" }, isOpen() ? "▾" : "▸"), broken(kind.pattern)], toggle,
      { class: "link name", "aria-expanded": String(isOpen()) });
    const cells = [
      element("th", { scope: "row" }, name), element("td", shape(kind.shape)), element("td.number", whole(kind.count)),
      element("td.number", size), element("td", becoming(kind)), element("td.why", kind.reason)
    ];
    const row = element("tr", { "data-kind": kind.pattern, class: kind.scheme ? "converted" : "kept" }, cells);
    if (!isOpen()) return row;
    const inner = longTable({ label: kind.pattern, rows: members, open: explain, columns: TENSOR_COLUMNS });
    return [row, element("tr.inner", element("td", { colspan: "6" }, inner.node))];
  }
  function becoming(kind) {
    return canHaveScheme(kind) ? element("div.becomes", schemeChoice(kind), ruleButton(kind)) : becomesText(kind);
  }
  function schemeChoice(kind) {
    const options = [
      ["", becomesText(kind)], ...(kind.scheme ? [["keep", "kept"]] : []),
      ...vocabulary.schemes.map((scheme) => scheme.name).filter((name) => name !== kind.scheme)
    ];
    return choice(options, "", (chosen) => (chosen === "keep" ? keep(kind) : give(kind, chosen)),
      { "aria-label": `What ${kind.pattern} becomes`, class: "small" });
  }
  function ruleButton(kind) {
    if (kind.scheme) return button("Keep", () => keep(kind), { class: "small", "aria-label": `Keep ${kind.pattern}` });
    return button("Convert", () => include(kind), { class: "small", "aria-label": `Convert ${kind.pattern}` });
  }
  // A newer wish about the same layers takes the place of an older one.
  function write(kind, list, entry) {
    const recipe = state.recipe;
    const own = kind.regex;
    recipe.keep = (recipe.keep ?? []).filter((pattern) => pattern !== own);
    recipe.include = (recipe.include ?? []).filter((pattern) => pattern !== own);
    recipe.rules = (recipe.rules ?? []).filter((rule) => rule.pattern !== own);
    if (entry) recipe[list].unshift(entry);
    for (const key of ["keep", "include", "rules"]) if (recipe[key].length === 0) delete recipe[key];
    changed();
  }
  const keep = (kind) => write(kind, "keep", kind.regex);
  const give = (kind, scheme) => write(kind, "rules", { pattern: kind.regex, scheme });
  // What a rule of one's own keeps is only let go again.
  const include = (kind) => write(kind, "include", isKeptBy(kind, state.recipe) ? null : kind.regex);
  async function explain(tensor) {
    const title = element("p.path", tensor.name);
    const content = element("div", title, element("p.quiet", "Asking…"));
    const asked = ask("Who was asked", content, [["close", "Close"]]);
    try {
      const { becomes: becoming, reason, steps } = await post("/api/explain", { ...body(state), tensor: tensor.name });
      const rows = steps.map((step) => element("tr", { class: step.decides ? "decides" : null },
                               element("td", step.decides ? "→" : ""), element("td", step.asked), element("td", step.answer)));
      fill(content, title, element("p", `${tensor.dtype} ${shape(tensor.shape)} → ${becoming}: ${reason}`),
        table({ label: "Who was asked", head: ["", "Asked", "Answer"], rows }));
    } catch (error) {
      fill(content, title, notice(error));
    }
    await asked;
  }
  return { node, update };
}

const TENSOR_COLUMNS = [
  column("Tensor", (tensor) => tensor.name, "minmax(14rem, 3fr)"),
  column("Shape", (tensor) => elements(tensor.shape), "minmax(5.5rem, 1fr)", (tensor) => shape(tensor.shape)),
  column("Dtype", (tensor) => tensor.dtype, "minmax(3.5rem, .6fr)"),
  numbers("Size", (tensor) => tensor.bytes, bytes, "minmax(5.5rem, .8fr)"), column("Becomes", becomes, "minmax(5.5rem, 1fr)"),
  column("Why", (tensor) => tensor.reason, "minmax(9rem, 2fr)"),
];

function becomesText(kind) {
  return kind.scheme ?? kind.becomes;
}

/** Weights are matrices at least; whether codes cover them is for the plan to say. */
function canHaveScheme(kind) {
  return Boolean(kind.scheme) || (kind.shape.length >= 2 && becomesText(kind) === "kept" && kind.reason !== "not a weight");
}

/** `212 tensors that are no weights, 1.2 MiB`. */
function describeOthers(others) {
  const sum = (key) => others.reduce((total, { kind }) => total + kind[key], 0);
  return `${counted(sum("count"), "tensor")} that can only be kept, ${bytes(sum("output_bytes"))}`;
}

/** A name that may go on in the next line after its dots. */
function broken(name) {
  return name.split(".").map((part, index) => index > 0 ? [".", element("wbr"), part] : part);
}

function isKeptBy(kind, recipe) {
  return (recipe.keep ?? []).includes(kind.regex);
}
