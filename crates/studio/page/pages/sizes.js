// Schemes beside each other.

import { newest, post } from "../api.js";
import { element, fill } from "../element.js";
import { sizeChart } from "../charts/sizes.js";
import { counted } from "../format.js";
import { notice } from "../widgets.js";
import { body } from "./plan.js";

/** Settings rest for so long before all schemes are planned. */
const QUIET_MS = 400;

/** Makes the view; a click on a bar uses its scheme. */
export function sizesView(state, use) {
  const place = element("div");
  const node = element("details.view", { open: true, hidden: true, ontoggle: () => node.open && ask() },
    element("summary", element("h2", "Schemes beside each other")), place);
  const asking = newest((signal) => post("/api/sizes", body(state), signal));
  let [timer, known] = [0, null];

  async function ask() {
    // The scheme itself does not change what the others take.
    const wanted = JSON.stringify([state.input, { ...state.recipe, scheme: null }, state.run]);
    try {
      const sizes = known?.wanted === wanted ? known.sizes : await asking();
      if (sizes === undefined) return;
      known = { wanted, sizes };
      const current = state.recipe.scheme ?? sizes[0]?.scheme;
      fill(place, sizeChart({ sizes, current, use }).node, refusals(sizes));
    } catch (error) {
      fill(place, notice(error));
    }
  }
  function update() {
    node.hidden = false;
    clearTimeout(timer);
    if (node.open) timer = setTimeout(ask, QUIET_MS);
  }
  return { node, update };
}

function refusals(sizes) {
  const refused = sizes.filter((size) => size.refused);
  if (refused.length === 0) return null;
  return element("details",
    element("summary", `${counted(refused.length, "scheme")} that ${refused.length === 1 ? "does" : "do"} not fit this file`),
    element("ul", refused.map((size) => element("li", element("strong", size.scheme), ` ${size.refused}`))));
}
