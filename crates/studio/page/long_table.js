// Lists of thousands of rows: all of them are in the page, so that the browser's search finds them; blocks that are out of
// sight are not laid out.

import { element, fill, plain } from "./element.js";
import { whole } from "./format.js";

/** Rows of a block; the style sheet gives a row its height. A hundred take more than a frame to lay out. */
const BLOCK = 50;

/**
 * Makes a list that is filtered and sorted.
 *
 * - `columns`: as `column` and `numbers` make them
 * - `open(row)`: makes the first cell a button
 * - `count(shown, all)`: is told how many rows there are
 */
export function longTable({ label, columns, rows, open, count }) {
  const state = { sorted: null, down: false, text: "", among: null, blocks: [] };
  const nothing = element("p.quiet", { hidden: true }, "Nothing matches.");
  const body = element("div.blocks", { role: "presentation", onclick: chosen });
  const heads = columns.map((column, index) => element("span", { role: "columnheader", class: column.number ? "number" : null },
                              element("button", { type: "button", onclick: () => sort(index) }, column.title)));
  const head = element("div", { role: "rowgroup" }, element("div", { role: "row", class: "head" }, heads));
  const node = element("div", { role: "table", class: "long", "aria-label": label, tabindex: open ? null : "0", onkeydown: walk },
    head, body, nothing);
  node.style.setProperty("--columns", columns.map((column) => column.width ?? "max-content").join(" "));
  const sample = emptyRow();
  const made = rows.map(make);
  const rowOf = new Map(made.map((entry) => [entry.node, entry.row]));
  arrange();

  function emptyRow() {
    const cells = columns.map((column) => element("span", { role: "cell", class: column.number ? "number" : null }, " "));
    if (open) fill(cells[0], element("button.open", { type: "button", tabindex: "-1" }, " "));
    return element("div", { role: "row" }, cells);
  }
  // Copies of a row are made in a third of the time of rows.
  function make(row) {
    const copy = sample.cloneNode(true);
    columns.forEach((column, index) => {
      const cell = copy.children[index];
      const text = plain(column.cell(row) ?? "");
      (cell.firstElementChild ?? cell).firstChild.data = text;
      if (index === 0) cell.title = text;
    });
    return { row, words: columns.map((column) => column.of(row)).join("\n").toLowerCase(), node: copy };
  }
  // Puts rows in their order, some to a block.
  function arrange() {
    const ordered = state.sorted === null ? made : [...made].sort(order(columns[state.sorted], state.down));
    state.blocks = [];
    for (let from = 0; from < ordered.length; from += BLOCK) {
      const part = ordered.slice(from, from + BLOCK);
      state.blocks.push({ part, node: element("div.block", { role: "rowgroup" }, part.map((entry) => entry.node)) });
    }
    fill(body, state.blocks.map((block) => block.node));
    show();
  }
  // Hides what does not match: rows stay where they are.
  function show() {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (entry) => words.every((word) => entry.words.includes(word)) && (state.among?.(entry.row) ?? true);
    let all = 0;
    for (const { part, node: block } of state.blocks) {
      let shown = 0;
      for (const entry of part) {
        const isShown = matches(entry);
        // Most rows stay as they are, and are not touched.
        if (entry.node.hidden === isShown) entry.node.hidden = !isShown;
        shown += isShown;
      }
      block.hidden = shown === 0;
      // The height of a block that is not laid out.
      block.style.setProperty("--rows", shown);
      all += shown;
    }
    nothing.hidden = all > 0;
    const first = shownButtons()[0];
    // One of them takes the focus from Tab; arrows lead on from it.
    if (first) first.tabIndex = 0;
    count?.(all, made.length);
  }
  function shownButtons() {
    return [...body.querySelectorAll("[role=row]:not([hidden]) > :first-child > button.open")];
  }
  function chosen(event) {
    const row = event.target.closest("button.open")?.closest("[role=row]");
    if (row) open(rowOf.get(row));
  }
  function sort(index) {
    // A third click gives the order of the file back.
    if (state.sorted === index && state.down !== Boolean(columns[index].number)) state.sorted = null;
    else [state.sorted, state.down] = state.sorted === index ? [index, !state.down] : [index, Boolean(columns[index].number)];
    heads.forEach((cell, at) => {
      if (at === state.sorted) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    arrange();
  }
  function walk(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !event.target.matches("button.open")) return;
    const all = shownButtons();
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

/**
 * A column of a list.
 *
 * - `of(row)`: what is sorted and searched
 * - `show(row)`: the text that is shown
 */
export function column(title, of, width, show = of) {
  return { title, of, cell: show, width };
}

/** A column of numbers; where there is none the cell is empty. */
export function numbers(title, of, show, width = "minmax(5rem, .7fr)") {
  return { title, of, cell: (row) => ((of(row) ?? null) === null ? "" : show(of(row))), number: true, width };
}

/** A list below a field that filters it. */
export function filteredTable(options) {
  const counter = element("span.quiet", { role: "status" });
  const table = longTable(
    { ...options, count: (shown, all) => fill(counter, shown === all ? `${whole(all)}` : `${whole(shown)} of ${whole(all)}`) });
  const input = element("input", {
    type: "search", class: "filter", placeholder: "Filter", "aria-label": `Filter ${options.label}`,
    oninput: () => table.filter(input.value)
  });
  return { ...table, node: element("div.filtered", element("div.bar", input, counter), table.node) };
}

/** What has no value comes last, whatever the direction. */
function order({ of }, down) {
  const isMissing = (value) => value === null || value === undefined;
  return (a, b) => {
    const [p, q] = [of(a.row), of(b.row)];
    if (isMissing(p) || isMissing(q)) return isMissing(p) - isMissing(q);
    const sign =
      typeof p === "number" && typeof q === "number" ? p - q : String(p).localeCompare(String(q), "en", { numeric: true });
    return down ? -sign : sign;
  };
}
