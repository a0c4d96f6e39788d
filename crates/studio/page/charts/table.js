// Tables that scroll by themselves.

import { element } from "../element.js";

/**
 * A table.
 *
 * - `head`: titles of the columns; one without a title has actions
 * - `numbers`: titles of columns that stand to the right
 * - `rows`: of the body, or the body itself
 */
export function table({ label, kind = "plain", head, numbers = [], rows, tall = false }) {
  const titles = head.map((title) => element("th", { scope: "col", class: numbers.includes(title) ? "number" : null },
                            title || element("span.hidden", "What")));
  return element("div.scroller", { class: tall ? "tall" : null, tabindex: "0", role: "region", "aria-label": label },
    element(`table.${kind}`, element("thead", element("tr", titles)), rows instanceof Node ? rows : element("tbody", rows)));
}

/** A table of texts; columns of numbers, with or without a unit, stand to the right. */
export function plainTable(head, rows, label) {
  const numbers = head.filter((_, column) => rows.length > 0 && rows.every((row) => isNumeric(row[column])));
  const kind = (value, column) =>
    numbers.includes(head[column]) ? "number" : String(value ?? "").length > WORD ? "breaks" : null;
  const cell = (value, column) => element("td", { class: kind(value, column) }, value);
  return table({ label, head, numbers, rows: rows.map((row) => element("tr", row.map(cell))) });
}

/** Letters up to which a text of a cell is not broken inside of its words. */
const WORD = 24;

function isNumeric(value) {
  return typeof value === "number" || /^[\d.,–]+( ?(%|s|ms|min|[KMGT]i?B|B))?$/.test(value);
}
