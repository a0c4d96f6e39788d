// A budget of the file, and the schemes that keep it at the least loss.

import { post } from "../api.js";
import { lossText, tradeOffChart } from "../charts/trade_off.js";
import { element, fill } from "../element.js";
import { bytes, counted } from "../format.js";
import { outcomeOf } from "../jobs.js";
import { address } from "../route.js";
import { button, choice, complain, field, lineInput, refuse } from "../widgets.js";
import { body } from "./plan.js";
import { sizeOf } from "./settings.js";

const MEASURES = {
  nats: "nats per token", "half-squared-error": "half the squared error of an output",
  "output-error": "errors of the layers' outputs", "weight-error": "errors of weights; statistics tell more"
};

/** Makes the view. `use(recipe)` gets the schemes that somebody takes, or the recipe without them. */
export function budgetView(state, vocabulary, use) {
  const said = element("div");
  const found = element("div");
  const chosen = element("p.note", { hidden: true }, "Layers have the schemes that a budget chose. ",
    button("Forget them", () => use({ ...state.recipe, assign: undefined }), { class: "small" }));
  const typed = lineInput({ placeholder: "12GB, or 6 bits" });
  const card = choice([["", "any"], ...vocabulary.cards], "", () => {});
  const form = element("form", { onsubmit: (event) => (event.preventDefault(), choose()) },
    element("p.help",
      "Each layer gets the scheme with which the whole file keeps its budget and loses least. All weights are read for it once; what they lose is kept beside the model."),
    element("div.bar", field({ label: "At most", key: "budget.size", control: typed }),
      field({ label: "For a card", key: "budget.card", control: card }), element("button", "Choose schemes")),
    said, found);
  const node = element("details.view", { hidden: true }, element("summary", element("h2", "Keep a budget")), chosen, form);

  async function choose() {
    const text = typed.value.trim();
    const [, bits] = /^(\d*\.?\d+)\s*bits?$/i.exec(text) ?? [];
    const budget = { card: card.value || undefined, bits: bits && Number(bits), size: bits ? undefined : sizeOf(text) };
    // Both are what the budget chooses.
    const { scheme, assign, ...recipe } = state.recipe;
    fill(found);
    try {
      const { id } = await post("/api/jobs", { ...body(state), kind: "budget", output: undefined, recipe, budget, starts: true });
      complain(form, []);
      fill(said, element("p.note", { role: "status" }, "Looking at what layers lose: ",
        element("a", { href: address("job", { id }) }, "how far it is")));
      fill(found, describe(await outcomeOf(id)));
      fill(said);
    } catch (error) {
      fill(said);
      refuse(form, said, error);
    }
  }
  function describe({ recipe, budget, by_proxy }) {
    const { file, layers, measure } = budget;
    const counts = Map.groupBy(layers, (layer) => layer.scheme);
    const schemes = [...counts].map(([scheme, of]) => `${counted(of.length, "layer")} in ${scheme}`).join(", ");
    const take = () => use({ ...state.recipe, scheme: recipe.scheme, assign: recipe.assign });
    return [
      element("p.sizes", element("strong", bytes(file.bytes)),
        element("span.quiet", ` exactly, ${file.bits.toFixed(2)} bits a weight, predicted loss ${lossText(file.loss)} (${MEASURES[measure]})`)),
      element("p", `${schemes}. `, button("Use these schemes", take, { class: "main" })),
      by_proxy.length > 0 && element("p.note", `${counted(by_proxy.length, "layer")} judged by weights: statistics lack them.`),
      tradeOffChart(budget).node
    ];
  }
  return { node, update: () => ((node.hidden = false), (chosen.hidden = !state.recipe.assign?.length)) };
}
