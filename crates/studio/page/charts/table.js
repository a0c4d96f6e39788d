// Small tables of numbers.

import { element } from "../element.js";

/** A table; columns of numbers, with or without a unit, stand to the right. */
export function plainTable(head, rows, caption) {
  const isNumber = head.map((_, column) => rows.length > 0 && rows.every((row) => isNumeric(row[column])));
  const cell = (tag, value, column) => element(tag,
    { class: isNumber[column] ? "number" : null, scope: tag === "th" ? "col" : null }, value || element("span.hidden", "What"));
  return element("div.scroller", { tabindex: "0", role: "region", "aria-label": caption ?? "Numbers" },
    element("table.plain",
      caption && element("caption", caption),
      element("thead", element("tr", head.map((value, column) => cell("th", value, column)))),
      element("tbody", rows.map((row) => element("tr", row.map((value, column) => cell("td", value, column))))),
    ),
  );
}

function isNumeric(value) {
  return typeof value === "number" || /^[\d.,–]+( ?(%|s|ms|min|[KMGT]i?B|B))?$/.test(value);
}
