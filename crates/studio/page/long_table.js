// Lists of thousands of rows: all of them are in the page, so that the browser's search finds them; blocks that are out of
// sight are not laid out.

import { element, fill } from "./element.js";
import { whole } from "./format.js";

/** Rows of a block; the style sheet gives a row its height. */
const BLOCK = 100;

/**
 * Makes a list that is filtered and sorted.
 *
 * - `columns`: `{ title, of(row), cell(row), number, width }`; `of` is what is sorted and searched, `cell` what is shown
 * - `open(row)`: makes the first cell a button
 * - `count(shown, all)`: is told how many rows there are
 */
export function longTable({ label, columns, rows, open, count }) {
  const state = { made: rows.map(make), sorted: null, down: false, text: "", among: null };
  const body = element("div.blocks", { role: "presentation" });
  const heads = columns.map((column, index) => element("span", { role: "columnheader", class: column.number ? "number" : null },
                              element("button", { type: "button", onclick: () => sort(index) }, column.title)));
  const head = element("div", { role: "rowgroup" }, element("div", { role: "row", class: "head" }, heads));
  const node =
    element("div", { role: "table", class: "long", "aria-label": label, tabindex: open ? null : "0", onkeydown: walk }, head, body);
  node.style.setProperty("--columns", columns.map((column) => column.width ?? "max-content").join(" "));
  show();

  function make(row) {
    const cells = columns.map((column, index) => {
      const shown = column.cell ? column.cell(row) : column.of(row);
      const inside = open && index === 0
        ? element("button", { type: "button", class: "open", tabindex: "-1", onclick: () => open(row) }, shown)
        : shown;
      return element("span", { role: "cell", class: column.number ? "number" : null, title: index === 0 ? shown : null }, inside);
    });
    const words = columns.map((column) => column.of(row)).join("\n").toLowerCase();
    return { row, words, node: element("div", { role: "row" }, cells) };
  }
  function show() {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const isShown = (made) => words.every((word) => made.words.includes(word)) && (state.among?.(made.row) ?? true);
    const shown = state.made.filter(isShown);
    if (state.sorted !== null) shown.sort(order(columns[state.sorted], state.down));
    const blocks = [];
    for (let from = 0; from < shown.length; from += BLOCK) {
      const part = shown.slice(from, from + BLOCK);
      const block = element("div", { role: "rowgroup", class: "block" }, part.map((made) => made.node));
      block.style.setProperty("--rows", part.length);
      blocks.push(block);
    }
    fill(body, shown.length ? blocks : element("p.quiet", "Nothing matches."));
    const first = body.querySelector("button.open");
    if (first) first.tabIndex = 0;
    count?.(shown.length, state.made.length);
  }
  function sort(index) {
    if (state.sorted === index && state.down !== Boolean(columns[index].number)) state.sorted = null;
    else [state.sorted, state.down] = state.sorted === index ? [index, !state.down] : [index, Boolean(columns[index].number)];
    heads.forEach((cell, at) => {
      if (at === state.sorted) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    show();
  }
  function walk(event) {
    const buttons = () => [...body.querySelectorAll("button.open")];
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !event.target.matches("button.open")) return;
    const all = buttons();
    const next = all[Math.max(0, Math.min(all.length - 1, all.indexOf(event.target) + steps[event.key]))];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    event.preventDefault();
  }
  return {
    node,
    /** Shows rows that hold all words. */
    filter: (text) => ((state.text = text), show()),
    /** Shows rows that a predicate takes, or all of them for null. */
    among: (predicate) => ((state.among = predicate), show()),
  };
}

/** A list below a field that filters it. */
export function filteredTable(options) {
  const counter = element("span.quiet", { role: "status" });
  const table = longTable(
    { ...options, count: (shown, all) => fill(counter, shown === all ? `${whole(all)}` : `${whole(shown)} of ${whole(all)}`) });
  const input = element("input", {
    type: "search",
    class: "filter",
    placeholder: "Filter",
    "aria-label": `Filter ${options.label}`,
    oninput: () => table.filter(input.value)
  });
  return { ...table, node: element("div.filtered", element("div.bar", input, counter), table.node) };
}

function order(column, down) {
  const compare = (a, b) => {
    const [p, q] = [column.of(a.row), column.of(b.row)];
    // What has no value comes last, whatever the direction.
    if (p === null || p === undefined || q === null || q === undefined)
      return (p ?? null) === (q ?? null) ? 0 : (p ?? null) === null ? Infinity : -Infinity;
    return typeof p === "number" && typeof q === "number" ? p - q : String(p).localeCompare(String(q), "en", { numeric: true });
  };
  return (a, b) => {
    const sign = compare(a, b);
    if (Number.isNaN(sign)) return 0;
    return Number.isFinite(sign) ? (down ? -sign : sign) : Math.sign(sign);
  };
}
