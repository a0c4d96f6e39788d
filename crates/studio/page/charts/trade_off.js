// Size against predicted loss: best mixes, and one scheme for all layers.

import { drawn } from "../element.js";
import { bytes } from "../format.js";
import { axes, chart, dot, dots } from "./chart.js";
import { ends, linear, logarithmic, logDomain } from "./scale.js";

/** Draws what a budget could choose. `budget`: as a plan tells it. */
export function tradeOffChart({ file, curve, uniform }) {
  const named = (points, name) => points.map((point) => ({ ...point, name: name ?? `${point.scheme} for all` }));
  const all = [...named([file], "this choice"), ...named(curve, "best mix"), ...named(uniform)].sort((a, b) => a.bytes - b.bytes);
  // What loses nothing has no place on this axis.
  const shown = all.filter((point) => point.loss > 0);
  return chart({ name: "trade-off", title: "Size against predicted loss", draw });

  function draw(frame) {
    const [least, most] = ends(shown.map((point) => point.bytes));
    const x = linear([least * 0.97, most * 1.03], [frame.left, frame.right]);
    const y = logarithmic(logDomain(shown.map((point) => point.loss)), [frame.bottom, frame.top]);
    const at = (point) => [x(point.bytes), y(point.loss)];
    const line = shown.filter((point) => !point.scheme).map((point) => at(point).map(dot).join(" ")).join("L");
    const single = shown.filter((point) => point.scheme);
    const label = (point) => drawn("text.start",
      { x: dot(Math.min(at(point)[0] + 8, frame.right - 60)), y: dot(at(point)[1] - 7) }, point.scheme);
    return {
      caption: `The line is the best mix for each size, a dot one scheme for all layers; this choice has ${bytes(file.bytes)}.`,
      parts: [
        axes(frame, {
          x: x.ticks(5).map((tick) => [x(tick), bytes(tick)]), y: y.ticks(4).map((tick) => [y(tick), lossText(tick)]),
          across: "size of the file", up: "predicted loss"
        }),
        drawn("path.curve", { d: `M${line}` }), dots(single.map(at), 2), single.map(label),
        file.loss > 0 && drawn("path.dots.knee", { d: `M${at(file).map(dot).join(" ")}h0` })
      ],
      marks: shown.map((point) => ({ x: at(point)[0], y: at(point)[1], value: point, text: told(point).join(", ") })),
      head: ["what", "size", "bits a weight", "predicted loss"],
      rows: all.map(told),
    };
  }
}

function told({ name, bytes: size, bits, loss }) {
  return [name, bytes(size), bits.toFixed(2), lossText(loss)];
}

/** A loss, which spans many powers of ten. */
export function lossText(loss) {
  return loss === 0 ? "0" : loss.toExponential(1).replace("e", "·10^").replace("+", "");
}
