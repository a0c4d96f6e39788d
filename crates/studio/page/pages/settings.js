// The settings of a conversion, as fields.

import { get } from "../api.js";
import { element, fill } from "../element.js";
import { counted, fileName, whole } from "../format.js";
import { address } from "../route.js";
import { choice, field, lineInput, pathField } from "../widgets.js";

/** Names that a published tool made known; others are read off their keys. */
const LABELS = {
  calibration_rows: "Calibration samples",
  reg_lambda: "Regularization lambda",
  top_p: "Singular vectors, share (top p)",
  top_k: "Singular vectors, exactly (top k)",
  min_k: "Singular vectors at least (min k)",
  max_k: "Singular vectors at most (max k)",
};

const UNITS = ["", "K", "M", "G", "T"];

/**
 * Makes the form.
 *
 * - `state`: `input`, `output`, `recipe` and `run`, which are changed in place
 * - `changed()`: is called after every change
 */
export function settingsForm(state, vocabulary, changed) {
  const node = element("form.settings", { "aria-label": "Settings", onsubmit: (event) => event.preventDefault() });
  let parts = null;
  let problems = new Map();

  function build() {
    problems = new Map();
    const wasOpen = parts?.advanced.open ?? false;
    parts = {
      scheme: schemeField(), method: methodField(), statistics: statisticsField(), output: outputField(),
      search: element("div.fields"), advanced: null
    };
    parts.advanced = element("details.advanced", { open: wasOpen }, element("summary", "Advanced"),
      group("Learned rounding", parts.search), group("Model", modelFields()), group("Which layers", layerFields()),
      group("File", fileFields()), group("Run", runFields()));
    fill(node, parts.scheme.node, parts.method.node, parts.statistics.node, parts.output.node, parts.advanced);
    showSearch();
  }

  // Where a key lives: `run.threads`, `method_options.top_p`, `scheme`.
  const place = (key) => {
    const [outer, name] = key.includes(".") ? key.split(".") : [null, key];
    if (outer === "run") return [state.run, name];
    return outer ? [(state.recipe[outer] ??= {}), name] : [state.recipe, name];
  };
  const value = (key) => key.split(".").reduce((table, name) => table?.[name], { ...state.recipe, run: state.run });
  const set = (key, given) => {
    const [table, name] = place(key);
    if (given === undefined || given === "" || (Array.isArray(given) && given.length === 0)) delete table[name];
    else table[name] = given;
    if (state.recipe.method_options && Object.keys(state.recipe.method_options).length === 0) delete state.recipe.method_options;
    changed();
  };

  const text = (key, label, { help, read = (typed) => typed, show = String, ...more } = {}) => {
    const given = value(key);
    const control = lineInput(
      { value: given === undefined ? "" : show(given), ...more, oninput: () => take(control.value.trim()) });
    const take = (typed) => {
      const wanted = typed === "" ? undefined : read(typed);
      const isWrong = wanted === null || Number.isNaN(wanted);
      problems.delete(key);
      // What is wrong is not sent; the field holds it, and `problems` keeps it from being started.
      if (isWrong) problems.set(key, `\`${typed}\` is not ${more["data-expects"] ?? "a number"}`);
      set(key, isWrong ? undefined : wanted);
    };
    return field({ label, key, control, help });
  };
  const number = (key, label, more = {}) => text(key, label, {
    read: (typed) => (/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(typed) ? Number(typed) : NaN), inputmode: "decimal", ...more
  });
  const size = (key, label, more) =>
    text(key, label, { read: sizeOf, show: (count) => sizeText(count), "data-expects": "a size such as 8GiB", ...more });
  const flag = (key, label, help, on = true) => {
    const control = element(
      "input", { type: "checkbox", checked: value(key) === on, onchange: () => set(key, control.checked ? on : undefined) });
    return field({ label, key, control, help });
  };
  const option = (key, label, options, standard, help) =>
    field({ label, key, help, control: choice([["", standard], ...options], value(key) ?? "", (chosen) => set(key, chosen)) });
  const list = (key, label, help, { read = (line) => line, show = (entry) => entry, placeholder } = {}) => {
    const control = element("textarea", {
      rows: Math.max(1, Math.min(8, (value(key) ?? []).length)), value: (value(key) ?? []).map(show).join("\n"),
      spellcheck: "false", placeholder,
      oninput: () => set(key, control.value.split("\n").map((line) => line.trim()).filter(Boolean).map(read))
    });
    return field({ label, key, control, help, wide: true });
  };

  function schemeField() {
    const bits = [...new Set(vocabulary.schemes.map((scheme) => scheme.bits))];
    const help = element("span", schemeHelp(value("scheme")));
    const standard = element("option", { value: "" }, "default");
    const control = element("select", { onchange: () => (fill(help, schemeHelp(control.value)), set("scheme", control.value)) },
      standard, bits.map((count) => element("optgroup", { label: `${count} bits` },
                 vocabulary.schemes.filter((scheme) => scheme.bits === count)
                   .map((scheme) => element("option", { value: scheme.name }, scheme.name)))));
    control.value = value("scheme") ?? "";
    // What nobody has chosen is what the plan says: it depends on the program that the output is for.
    const show = (plan) => {
      fill(standard, `default (${plan.scheme})`);
      if (value("scheme") === undefined) fill(help, schemeHelp());
    };
    return { node: field({ label: "Scheme", key: "scheme", control, help }), show };
  }
  function schemeHelp(name) {
    const wanted = name || state.plan?.scheme || vocabulary.schemes[0].name;
    const scheme = vocabulary.schemes.find((candidate) => candidate.name === wanted);
    return scheme ? `${scheme.when}; ${scheme.opened_by ?? "no program is known to open it"}` : "";
  }
  function methodField() {
    const help = element("span", methodHelp());
    const control =
      choice([["", "default"], ...vocabulary.methods.map((method) => method.name)], value("method") ?? "", (chosen) => {
        delete state.recipe.method_options;
        set("method", chosen);
        fill(help, methodHelp());
        showSearch();
      });
    return { node: field({ label: "Method", key: "method", control, help }), control };
  }
  function methodHelp() {
    const method = vocabulary.methods.find((candidate) => candidate.name === value("method"));
    return method?.summary ?? "nearest codes; with statistics, the rounding that spares outputs";
  }
  function statisticsField() {
    const help = element("span");
    const show = async (path) => fill(help, path ? await statisticsText(path) : [
      "Of real inputs: a third of the error at the same size. ", element("a", { href: address("statistics") }, "How to get them")
    ]);
    const partial = flag("run.allow_partial_statistics", "Use them as far as layers fit", "of a model that is not quite this one");
    partial.hidden = !value("run.statistics");
    const { node: made } = pathField({
      label: "Statistics", key: "run.statistics", value: value("run.statistics"), kinds: ["statistics"], help,
      placeholder: "none", onchange: (path) => ((partial.hidden = !path), set("run.statistics", path), show(path))
    });
    show(value("run.statistics"));
    return { node: element("div", made, partial) };
  }
  function outputField() {
    const { node: made, control } = pathField({
      label: "Output", key: "output", value: state.output, kinds: ["folder", "model"],
      named: () => fileName(control.value || control.placeholder), onchange: (path) => ((state.output = path), changed())
    });
    control.addEventListener("input", () => ((state.output = control.value.trim()), changed()));
    return { node: made, control };
  }
  function showSearch() {
    const method =
      vocabulary.methods.find((candidate) => candidate.name === (value("method") ?? state.plan?.method ?? "nearest"));
    const solver = state.recipe.method_options?.solver;
    const settings =
      (method?.settings ?? []).filter((setting) => setting.solvers.length === 0 || setting.solvers.includes(solver));
    // Fields that are gone have nothing to complain of.
    for (const key of problems.keys()) if (key.startsWith("method_options.")) problems.delete(key);
    fill(parts.search,
      settings.length ? settings.map(searchField)
                      : element("p.quiet", "Nearest codes have nothing to set. Choose a method that searches."));
  }
  function searchField(setting) {
    const key = `method_options.${setting.name}`;
    const label = LABELS[setting.name] ?? titled(setting.name);
    const standard = setting.value === null ? setting.default : String(setting.value);
    // A field is too narrow for a sentence.
    const [placeholder, help] =
      standard.length > 20 ? ["default", `${setting.meaning}; default ${standard}`] : [standard, setting.meaning];
    if (setting.range.kind !== "names") return number(key, label, { help, placeholder });
    const control = choice([["", `${standard} (default)`], ...setting.range.names], value(key) ?? "",
      (chosen) => (set(key, chosen), setting.name === "solver" && showSearch()));
    return field({ label, key, control, help: setting.meaning });
  }
  function modelFields() {
    const preset = option("preset", "Preset", vocabulary.presets.map((entry) => entry.name), "detected");
    const box = element("input", {
      type: "checkbox",
      checked: value("preset") === "t5xxl",
      onchange: () =>
        ((preset.querySelector("select").value = box.checked ? "t5xxl" : ""), set("preset", box.checked ? "t5xxl" : undefined))
    });
    preset.querySelector("select").addEventListener("change", (event) => (box.checked = event.target.value === "t5xxl"));
    return [
      preset, field({ label: "T5XXL model", control: box, help: "the preset t5xxl; recognised without it" }),
      flag("keep_distillation", "Keep distillation layers", "those that distilled Chroma models need"),
      option("as", "Take the file for", vocabulary.kinds, "what it looks like"),
      vocabulary.names && option("names", "Names that are not the model's own", vocabulary.names, "translate", "such as diffusers'")
    ];
  }
  function layerFields() {
    return [
      list("keep", "Keep", "a regular expression on each line, searched for in names without .weight"),
      list("include", "Convert although a preset keeps them", "the same"),
      list("rules", "Schemes of their own", "REGEX = SCHEME on each line; the first that matches decides",
        { read: ruleOf, show: ({ pattern, scheme }) => `${pattern} = ${scheme}` }),
      option("fallback_scheme", "Scheme of what the preset keeps", vocabulary.schemes.map((scheme) => scheme.name), "kept"),
      flag("ignore_base_list", "Ignore the base keep-list"),
      number("min_size", "Fewest elements of a weight"),
      option("heuristic", "Size rules of published converters", vocabulary.heuristics, "none"),
    ];
  }
  function fileFields() {
    return [
      option("layout", "Layout", vocabulary.layouts, "the first that fits"),
      option("scale_rule", "Scale rule", vocabulary.scale_rules, "absmax"),
      list("full_precision", "Multiplied in full precision", "a regular expression on each line"),
      list("merge_lora", "LoRA to merge", "FILE or FILE:STRENGTH on each line"),
      flag("allow_unmatched_lora", "Leave out keys of adapters that fit no weight"),
      number("run.extract_error_lora", "Error LoRA, rank", { help: "written beside the output" }),
      size("run.shard_bytes", "Shards of at most", { placeholder: "one file" }),
      flag("provenance", "Do not note how the file was made", null, false),
    ];
  }
  function runFields() {
    return [
      size("run.memory_bytes", "Memory limit", { placeholder: "none, such as 8GiB" }),
      number("run.threads", "Threads", { placeholder: `all ${vocabulary.cores} cores` }),
      option("run.device", "Device", vocabulary.devices.filter((device) => device !== "auto"), "the best one"),
      flag("run.verifies", "Do not read the output again", null, false),
    ];
  }

  build();
  return {
    node,
    /** Shows settings that were changed elsewhere. */
    reset: build,
    /** What the plan decided stands as placeholder. */
    update(plan) {
      parts.output.control.placeholder = plan.output;
      parts.scheme.show(plan);
      if (value("method") === undefined && plan.method) fill(parts.method.control.options[0], `default (${plan.method})`);
      if (parts.method.inForce !== plan.method && value("method") === undefined) showSearch();
      parts.method.inForce = plan.method;
    },
    /** What no server needs to say. */
    problems: () => [...problems].map(([key, problem]) => ({ field: key, problem })),
  };
}

function group(title, fields) {
  return element("fieldset", element("legend", title), element("div.fields", fields));
}

/** `learning_rate` as `Learning rate`. */
function titled(key) {
  const words = key.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

/** A rule as it is typed; names of schemes hold no `=`. */
function ruleOf(line) {
  const cut = line.lastIndexOf("=");
  return cut < 0 ? { pattern: line, scheme: "" } : { pattern: line.slice(0, cut).trim(), scheme: line.slice(cut + 1).trim() };
}

/** `8GiB` in bytes as the command line reads it, or null: `8GB` counts by 1000, a bare number bytes. */
export function sizeOf(typed) {
  const [, number, unit = "", binary] = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b)?$/i.exec(typed) ?? [];
  if (!(Number(number) > 0)) return null;
  return Math.floor(Number(number) * (binary ? 1024 : 1000) ** UNITS.indexOf(unit.toUpperCase()));
}

function sizeText(count) {
  const power = [4, 3, 2, 1].find((candidate) => count % 1024 ** candidate === 0) ?? 0;
  return power ? `${count / 1024 ** power}${UNITS[power]}iB` : String(count);
}

async function statisticsText(path) {
  try {
    const statistics = await get("/api/statistics", { path });
    const samples = statistics.layers.map((layer) => layer.samples).sort((a, b) => a - b);
    const few = statistics.few?.length ? ` · ${counted(statistics.few.length, "layer")} with few samples` : "";
    const range = `${whole(samples[0] ?? 0)} to ${whole(samples.at(-1) ?? 0)} samples each`;
    const link = element("a", { href: address("statistics", { path }) }, "See layers");
    return [`${counted(statistics.layers.length, "layer")}, ${range}${few} `, link];
  } catch (error) {
    return error.message;
  }
}
