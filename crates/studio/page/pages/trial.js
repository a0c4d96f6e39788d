// Three setups, tried on a few layers of the file.

import { get, post } from "../api.js";
import { element, fill } from "../element.js";
import { percent, seconds } from "../format.js";
import { act, subscribe } from "../jobs.js";
import { button, choice, notice } from "../widgets.js";
import { body } from "./plan.js";

/** Makes the view. `use(recipe)` gets the setup that somebody chose, `again()` is called when a pace is known. */
export function trialView(state, vocabulary, { use, again }) {
  const schemes = vocabulary.schemes.map((scheme) => scheme.name);
  const methods = vocabulary.methods.map((method) => method.name);
  const setups = [{ isCurrent: true }, { scheme: null, method: methods[1] }, { scheme: schemes[1], method: methods[0] }];
  const said = element("div");
  const rows = element("tbody");
  const node = element(
    "details.view",
    { hidden: true },
    element("summary", element("h2", "Try three setups")),
    element("p.help",
      "On one weight of each of the six commonest shapes; what is written is thrown away. Tells error and time before the whole file is done."),
    said,
    element("div.scroller", { role: "region", "aria-label": "Setups", tabindex: "0" },
      element("table",
        element("thead",
          element("tr",
            ["Scheme", "Method", "Error", "Of outputs", "Whole file", ""].map(
              (title) => element("th", { scope: "col", class: /^(Error|Of|Whole)/.test(title) ? "number" : null },
                title || element("span.hidden", "Use"))))),
        rows)),
    element("p.actions", button("Try these", tryAll)),
  );
  const leave = subscribe((event) => ["done", "failed", "state"].includes(event?.event) && void follow(event.job));

  function recipeOf(setup) {
    const { method_options: options, ...rest } = state.recipe;
    if (setup.isCurrent) return state.recipe;
    return { ...rest, scheme: setup.scheme ?? state.recipe.scheme ?? schemes[0], method: setup.method };
  }
  async function tryAll() {
    fill(said);
    for (const setup of setups) Object.assign(setup, { job: null, result: null, problem: null });
    for (const setup of setups) {
      try {
        const { id } =
          await post("/api/jobs", { ...body(state), kind: "try", output: undefined, recipe: recipeOf(setup), starts: true });
        setup.job = id;
      } catch (error) {
        setup.problem = error.message;
      }
    }
    show();
    for (const setup of setups) if (setup.job) void follow(setup.job);
  }
  async function follow(id) {
    const setup = setups.find((candidate) => candidate.job === id);
    if (!setup || setup.result) return;
    try {
      const { state: reached, failure } = await get(`/api/jobs/${id}`);
      if (reached === "done") {
        setup.result = await get("/api/report", { job: id });
        await act(id, "remove").catch(() => {});
        again();
      } else if (["failed", "stopped", "interrupted"].includes(reached)) setup.problem = failure?.message ?? reached;
    } catch (error) {
      fill(said, notice(error));
    }
    show();
  }
  function show() {
    fill(rows, setups.map((setup) => row(setup)));
  }
  function row(setup) {
    const { result, job, problem } = setup;
    const recipe = recipeOf(setup);
    const pick = (key, options, label) => choice(options, recipe[key] ?? options[0],
      (chosen) => (Object.assign(setup, { [key]: chosen, result: null, job: null })), { "aria-label": label, class: "small" });
    const fixed = (text) => element("span", text);
    const outcome = problem ? [element("td", { colspan: "3" }, problem)] : [
      percent(result?.weight_error), percent(result?.output_error ?? NaN),
      result  ? seconds(result.seconds)
        : job ? "trying…"
              : "–"
    ].map((text) => element("td.number", text));
    return element("tr",
      element("td", setup.isCurrent ? fixed(`${recipe.scheme ?? schemes[0]} (now)`) : pick("scheme", schemes, "Scheme to try")),
      element("td",
        setup.isCurrent ? fixed(recipe.method ?? state.plan?.method ?? "default") : pick("method", methods, "Method to try")),
      outcome, element("td", !setup.isCurrent && button("Use", () => use(recipeOf(setup)), { class: "small" })));
  }
  return { node, leave, update: () => ((node.hidden = false), show()) };
}
