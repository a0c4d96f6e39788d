// Two reports, layer by layer.

import { drawn } from "../element.js";
import { counted, percent, percentMark } from "../format.js";
import { axes, chart, dot, dots } from "./chart.js";
import { measured } from "./errors.js";
import { logarithmic, logDomain } from "./scale.js";

/** Draws errors of the same layers in two outputs against each other; below the diagonal the second is better. */
export function compareChart({ a, b, open }) {
  const pairs = paired(a, b);
  return chart({ name: "compare", title: "Errors against each other", height: 320, draw, open });

  function draw(frame) {
    const domain = logDomain(pairs.flatMap((pair) => [pair.a, pair.b]));
    const x = logarithmic(domain, [frame.left, frame.right]);
    const y = logarithmic(domain, [frame.bottom, frame.top]);
    const [low, high] = domain;
    return {
      caption: findingOfPairs(pairs, a, b),
      parts: [
        axes(frame, {
          x: x.ticks(6).map((tick) => [x(tick), percentMark(tick)]), y: y.ticks(5).map((tick) => [y(tick), percentMark(tick)]),
          across: "error in A", up: "error in B"
        }),
        drawn("path.even", { d: `M${dot(x(low))} ${dot(y(low))}L${dot(x(high))} ${dot(y(high))}` }),
        dots(pairs.map((pair) => [x(pair.a), y(pair.b)]), 0),
      ],
      marks: pairs.map(
        (pair) => ({ x: x(pair.a), y: y(pair.b), value: pair, text: `${pair.name}: A ${percent(pair.a)}, B ${percent(pair.b)}` })),
      head: PAIR_HEAD,
      rows: furthest(pairs, 100),
    };
  }
}

/** Layers with an error in both, in the order of the first. */
export function paired(a, b) {
  const others = new Map(measured(b.tensors).map((layer) => [layer.name, layer]));
  const both = measured(a.tensors).filter((layer) => others.get(layer.name)?.weight_error > 0 && layer.weight_error > 0);
  return both.map((layer) => ({ name: layer.name, a: layer.weight_error, b: others.get(layer.name).weight_error }));
}

export const PAIR_HEAD = ["Layer", "A", "B", "B over A"];

/** Rows of a table of some pairs, those that are furthest apart first. */
export function furthest(pairs, count) {
  // Half as large is as far away as twice as large.
  const apart = (pair) => Math.abs(Math.log(pair.b / pair.a));
  const sorted = [...pairs].sort((p, q) => apart(q) - apart(p) || (p.name < q.name ? -1 : 1));
  return sorted.slice(0, count).map(({ name, a, b }) => [name, percent(a), percent(b), (b / a).toFixed(3)]);
}

function findingOfPairs(pairs, a, b) {
  if (pairs.length === 0) return "No layer is converted in both.";
  const lower = pairs.filter((pair) => pair.b < pair.a).length;
  const equal = pairs.filter((pair) => pair.b === pair.a).length;
  const same = equal ? `, equal in ${equal}` : "";
  const together = `A ${percent(a.weight_error)}, B ${percent(b.weight_error)}`;
  return `B is lower in ${lower} of ${counted(pairs.length, "layer")}${same}; all weights together: ${together}.`;
}
