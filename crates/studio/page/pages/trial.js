// Three setups, tried on a few layers of the file.

import { post } from "../api.js";
import { table } from "../charts/table.js";
import { element, fill } from "../element.js";
import { about, percent } from "../format.js";
import { outcomeOf } from "../jobs.js";
import { button, choice, keepingFocus } from "../widgets.js";
import { body } from "./plan.js";

/** Makes the view. `use(recipe)` gets the setup that somebody chose, `again()` is called when a pace is known. */
export function trialView(state, vocabulary, { use, again }) {
  const schemes = vocabulary.schemes.map((scheme) => scheme.name);
  const methods = vocabulary.methods.map((method) => method.name);
  const oneOf = (names, wanted) => (names.includes(wanted) ? wanted : names[1]);
  const setups = [
    { isCurrent: true }, { scheme: null, method: oneOf(methods, state.run.statistics ? "activations" : "principal") },
    { scheme: oneOf(schemes, "int8-row"), method: methods[0] }
  ];
  const rows = element("tbody");
  const node = element("details.view", { hidden: true }, element("summary", element("h2", "Try three setups")),
    element("p.help",
      "On one weight of each of the six shapes that most of the file is made of. Tells error and time before all of it is done."),
    table({
      label: "Setups", kind: "trials", head: ["Scheme", "Method", "Error", "Of outputs", "Whole file", ""],
      numbers: ["Error", "Of outputs", "Whole file"], rows
    }),
    element("p.actions", button("Try these", tryAll)),
  );

  function recipeOf(setup) {
    const { method_options: options, ...rest } = state.recipe;
    if (setup.isCurrent) return state.recipe;
    return { ...rest, scheme: setup.scheme ?? state.recipe.scheme ?? schemes[0], method: setup.method };
  }
  async function tryAll() {
    for (const setup of setups) {
      Object.assign(setup, { job: null, result: null, problem: null, tried: JSON.stringify(recipeOf(setup)) });
      try {
        const { id } =
          await post("/api/jobs", { ...body(state), kind: "try", output: undefined, recipe: recipeOf(setup), starts: true });
        setup.job = id;
        void outcomeOf(id)
          // A newer trial may have taken its place.
          .then((result) => setup.job === id && ((setup.result = result), again()),
            (error) => setup.job === id && (setup.problem = error.message))
          .finally(show);
      } catch (error) {
        setup.problem = error.message;
      }
    }
    show();
  }
  function show() {
    keepingFocus(rows, () => fill(rows, setups.map((setup) => row(setup))));
  }
  function row(setup) {
    const recipe = recipeOf(setup);
    // What was tried with other settings says nothing of these.
    const { result, job, problem } = setup.tried === JSON.stringify(recipe) ? setup : {};
    const pick = (key, options, label) => choice(options, recipe[key] ?? options[0],
      (chosen) => ((setup[key] = chosen), show()), { "aria-label": `${label} ${setups.indexOf(setup)}`, class: "small" });
    const fixed = (text) => element("span", text);
    const outcome = problem ? [element("td", { colspan: "3" }, problem)] : [
      percent(result?.weight_error), percent(result?.output_error ?? NaN),
      result  ? about(result.estimated_seconds)
        : job ? "trying…"
              : "–"
    ].map((text) => element("td.number", text));
    return element("tr",
      element("td", setup.isCurrent ? fixed(`${recipe.scheme ?? schemes[0]} (now)`) : pick("scheme", schemes, "Scheme to try")),
      element("td",
        setup.isCurrent ? fixed(recipe.method ?? state.plan?.method ?? "default") : pick("method", methods, "Method to try")),
      outcome, element("td", !setup.isCurrent && button("Use", () => use(recipeOf(setup)), { class: "small" })));
  }
  return { node, update: () => ((node.hidden = false), show()) };
}
