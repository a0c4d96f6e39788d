// How many layers have which error.

import { element } from "../element.js";
import { counted, percent, percentMark } from "../format.js";
import { axes, chart, dot } from "./chart.js";
import { drawn } from "../element.js";
import { measured } from "./errors.js";
import { ends, linear, logarithmic, quantile, range } from "./scale.js";

const BARS = 24;

/**
 * Counts layers by error.
 *
 * - `pick({ from, to })`: gets the errors between which a chosen bar lies, or null
 */
export function errorHistogram({ layers, pick }) {
  let shown = measured(layers);
  let picked = null;
  const all = element("button", { type: "button", class: "small", hidden: true, onclick: () => choose(null) }, "Show all layers");
  const made = chart({ name: "histogram", title: "How large errors are", draw, open: pick && choose, actions: all });

  function draw(frame) {
    const bars = bins(shown.map((layer) => layer.weight_error));
    const highest = Math.max(1, ...bars.map((bar) => bar.count));
    const x = logarithmic([bars[0].from, bars.at(-1).to], [frame.left, frame.right]);
    const y = linear([0, highest], [frame.bottom, frame.top]);
    const boxes = bars.map((bar) => ({
      bar,
      box: {
        x: x(bar.from) + 0.5, y: y(bar.count), width: Math.max(1, x(bar.to) - x(bar.from) - 1),
        height: frame.bottom - y(bar.count)
      }
    }));
    return {
      caption: findingOfHistogram(shown),
      parts: [
        axes(frame, {
          x: x.ticks(6).map((tick) => [x(tick), percentMark(tick)]),
          y: y.ticks(4).filter(Number.isInteger).map((tick) => [y(tick), tick]), across: "error", up: "layers"
        }),
        boxes.filter(({ bar }) => bar.count > 0).map(({ bar, box }) => drawnBar(bar, box))
      ],
      marks: boxes.map(({ bar, box }) => ({
        x: box.x, y: box.y, box, value: bar,
        text: `${counted(bar.count, "layer")} from ${percent(bar.from)} to ${percent(bar.to)}`
      })),
      head: ["from", "to", "layers"],
      rows: bars.map((bar) => [percent(bar.from), percent(bar.to), bar.count]),
    };
  }
  function drawnBar(bar, box) {
    const isPicked = picked && bar.from === picked.from;
    return drawn("rect", {
      class: isPicked ? "bar picked" : "bar", x: dot(box.x), y: dot(box.y), width: dot(box.width), height: dot(box.height),
      "data-count": bar.count
    });
  }
  function choose(bar) {
    picked = bar && picked?.from !== bar.from ? bar : null;
    all.hidden = picked === null;
    made.redraw();
    pick(picked);
  }
  return { node: made.node, update: (more) => ((shown = measured(more)), made.redraw()) };
}

/** Bars of equal width on a logarithmic axis; the last one holds its upper end. */
export function bins(values) {
  const counted = values.filter((value) => value > 0);
  const [low, high] = counted.length ? ends(counted) : [0.01, 0.1];
  // Errors that are nearly equal get bars on both sides of them.
  const [from, to] = high / low < 1.02 ? [low / 1.1, high * 1.1] : [low, high];
  const edge = (index) => from * (to / from) ** (index / BARS);
  const bars =
    // An end is no part of its bar, so that the last one lies behind the largest error.
    range(0, BARS - 1).map((index) => ({ from: edge(index), to: index === BARS - 1 ? to * 1.000001 : edge(index + 1), count: 0 }));
  for (const value of counted) {
    const index = Math.floor((Math.log(value / from) / Math.log(to / from)) * BARS);
    // At both ends the last bits of a logarithm may lead outside.
    bars[Math.max(0, Math.min(BARS - 1, index))].count += 1;
  }
  return bars;
}

function findingOfHistogram(shown) {
  if (shown.length === 0) return "No layer has been measured yet.";
  const sorted = shown.map((layer) => layer.weight_error).sort((a, b) => a - b);
  const [low, middle, high] = [0.25, 0.5, 0.75].map((at) => quantile(sorted, at));
  const far = sorted.filter((error) => error > 2 * middle).length;
  const rest =
    far === 0 ? "none is above twice the median" : `${far} of ${counted(sorted.length, "layer")} above twice the median`;
  const [from, to] = [percent(low), percent(high)];
  return `Half of the layers ${from === to ? `are at ${from}` : `lie between ${from} and ${to}`}; ${rest}.`;
}
