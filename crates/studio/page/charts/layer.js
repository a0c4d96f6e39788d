// One layer: its weights, their errors, and where in the matrix these are.

import { drawn } from "../element.js";
import { percent, whole } from "../format.js";
import { axes, chart, dot } from "./chart.js";
import { ends, linear } from "./scale.js";

const LEVELS = 8;

/** How much of all values is told as most of them. */
const MOST = 0.9;

/** Draws a histogram of `/api/layer`, counts on a logarithmic axis. */
export function valueHistogram({ name, title, histogram, across }) {
  const { edges, counts } = histogram;
  const total = counts.reduce((sum, count) => sum + count, 0);
  return chart({ name, title, height: 200, draw });

  function draw(frame) {
    const x = linear([edges[0], edges.at(-1)], [frame.left, frame.right]);
    // One more than there are: a single weight shows beside millions, and none is 0.
    const y = linear([0, Math.log10(1 + Math.max(...counts, 1))], [frame.bottom, frame.top]);
    const boxes = counts.map((count, index) => ({
      count,
      index,
      box: {
        x: x(edges[index]), y: y(Math.log10(1 + count)), width: Math.max(0.5, x(edges[index + 1]) - x(edges[index]) - 0.5),
        height: frame.bottom - y(Math.log10(1 + count))
      }
    }));
    const path =
      boxes.map(({ box }) => `M${dot(box.x)} ${frame.bottom}V${dot(box.y)}H${dot(box.x + box.width)}V${frame.bottom}z`).join("");
    const decades =
      [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8]
        .filter((count) => count <= Math.max(...counts))
        .map((count) => [y(Math.log10(1 + count)), count >= 1e4 ? count.toExponential(0).replace("e+", "e") : count]);
    return {
      caption: findingOfValues(edges, counts, total),
      parts: [
        axes(frame, { x: x.ticks(5).map((tick) => [x(tick), Number(tick.toPrecision(3))]), y: decades, across, up: "weights" }),
        drawn("path.bar", { d: path })
      ],
      marks: boxes.map(
        ({ count, index, box }) =>
          ({ x: box.x, y: box.y, box, text: `${whole(count)} from ${short(edges[index])} to ${short(edges[index + 1])}` })),
      head: ["from", "to", "weights"],
      rows: counts.map((count, index) => [short(edges[index]), short(edges[index + 1]), whole(count)]),
    };
  }
}

/** Draws the error of each tile as a map of the matrix; darker is larger. */
export function tileMap({ tiles, of }) {
  const { rows, cols, error } = tiles;
  const [low, high] = ends(error.filter(Number.isFinite));
  const worst = error.indexOf(high);
  return chart(
    { name: "tiles", title: "Error by place", height: Math.round(Math.max(160, Math.min(360, (rows / cols) * 420))), draw });

  function draw(frame) {
    const place = (index, count, from, to) => from + ((to - from) * index) / count;
    // One tile may be far worse than all others: equal ratios are equal steps of the colour.
    const floor = Math.max(low, high / 1000);
    const level = (value) => {
      const above = Math.log(Math.max(value, floor) / floor) / Math.log(high / floor);
      return high > floor ? Math.min(LEVELS - 1, Math.floor(above * LEVELS)) : 0;
    };
    const paths = Array.from({ length: LEVELS }, () => []);
    error.forEach((value, index) => {
      const [row, col] = [Math.floor(index / cols), index % cols];
      const [x, y] = [place(col, cols, frame.left, frame.right), place(row, rows, frame.top, frame.bottom)];
      const [x2, y2] = [place(col + 1, cols, frame.left, frame.right), place(row + 1, rows, frame.top, frame.bottom)];
      paths[level(value)]?.push(`M${dot(x)} ${dot(y)}H${dot(x2)}V${dot(y2)}H${dot(x)}z`);
    });
    const where = (index) => `row ${Math.floor(index / cols) + 1} of ${rows}, column ${(index % cols) + 1} of ${cols}`;
    return {
      caption: high > low ? `From ${percent(low)} to ${percent(high)}; the largest at ${where(worst)} of the map.`
                          : `${percent(high)} everywhere.`,
      parts: [
        axes(frame, { across: `columns (${of[1]})`, up: `rows (${of[0]})` }),
        paths.map((parts, number) => drawn("path", { class: `heat-${number}`, d: parts.join("") }))
      ],
      head: ["place", "error"],
      rows: error.map((value, index) => [where(index), value]).sort((p, q) => q[1] - p[1]).slice(0, 50).map(([at,
        value]) => [at, percent(value)]),
    };
  }
}

function findingOfValues(edges, counts, total) {
  const [first, last] = middleOf(counts, total);
  const far = (from, to) => Math.max(Math.abs(from), Math.abs(to));
  const half = far(edges[0], edges.at(-1)) / 2;
  const outer = counts.reduce((sum, count, index) => (far(edges[index], edges[index + 1]) > half ? sum + count : sum), 0);
  const most = `${whole(MOST * 100)} % of them from ${short(edges[first])} to ${short(edges[last + 1])}`;
  return `${whole(total)} values, ${most}; ${percent(outer / Math.max(total, 1))} in the outer half of the range.`;
}

/** The first and the last of the bars around the tallest that hold most of all values. */
function middleOf(counts, total) {
  let first = counts.indexOf(Math.max(...counts));
  let [last, held] = [first, counts[first]];
  while (held < MOST * total && (first > 0 || last < counts.length - 1)) {
    const [before, after] = [counts[first - 1] ?? -1, counts[last + 1] ?? -1];
    held += before > after ? counts[--first] : counts[++last];
  }
  return [first, last];
}

function short(value) {
  return String(Number(value.toPrecision(3)));
}
