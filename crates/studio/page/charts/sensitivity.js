// Which few layers hold most of the error.

import { element } from "../element.js";
import { counted, elements, percent, share } from "../format.js";
import { axes, chart, dot } from "./chart.js";
import { drawn } from "../element.js";
import { measured } from "./errors.js";
import { linear } from "./scale.js";

/**
 * Draws the cumulative squared error over the bytes of the layers, worst layer first: of outputs where all of them are known,
 * else of weights.
 *
 * - `keep(names)`: gets the layers up to the knee
 */
export function sensitivityChart({ layers, keep }) {
  const { steps, of } = ranked(layers);
  // Where the curve is furthest above the diagonal.
  const knee = steps.reduce((best, step) => (step.error - step.bytes > best.error - best.bytes ? step : best), steps[0]);
  const names = steps.slice(0, steps.indexOf(knee) + 1).map((step) => step.name);
  const action = keep && knee &&
    element("button", { type: "button", class: "small", onclick: () => keep(names) },
      `Keep ${names.length === 1 ? "this layer" : `these ${names.length} layers`}`);
  return chart({ name: "sensitivity", title: "Where the error sits", draw, actions: action });

  function finding() {
    const few = `${counted(names.length, "layer")}, ${share(knee.bytes, 1)} of the bytes`;
    return `${few}, ${names.length === 1 ? "holds" : "hold"} ${share(knee.error, 1)} of the squared ${of}.`;
  }
  function draw(frame) {
    const x = linear([0, 1], [frame.left, frame.right]);
    const y = linear([0, 1], [frame.bottom, frame.top]);
    // `share` rounds down: a last bit would cost a per cent.
    const ticks = (scale) => scale.ticks(5).map((tick) => [scale(tick), share(tick + 1e-9, 1)]);
    const line = [{ bytes: 0, error: 0 }, ...steps].map(({ bytes, error }) => `${dot(x(bytes))} ${dot(y(error))}`).join("L");
    return {
      caption: knee ? finding() : "No layer has been measured yet.",
      parts: [
        axes(frame, { x: ticks(x), y: ticks(y), across: "bytes of layers, worst layer first", up: "squared error" }),
        drawn("path.even", { d: `M${dot(x(0))} ${dot(y(0))}L${dot(x(1))} ${dot(y(1))}` }), drawn("path.curve", { d: `M${line}` }),
        knee && drawn("path.dots.knee", { d: `M${dot(x(knee.bytes))} ${dot(y(knee.error))}h0` }),
      ],
      marks: steps.map((step, index) => ({
        x: x(step.bytes), y: y(step.error), value: step,
        text: `${index + 1}. ${step.name}: ${percent(step.own)} of the error, ${percent(step.size)} of the bytes`
      })),
      head: ["layer", "of the error", "of the bytes", "together"],
      rows: steps.slice(0, 100).map((step) => [step.name, percent(step.own), percent(step.size), percent(step.error)]),
    };
  }
}

const WIDTHS = { F64: 8, F32: 4, F16: 2, BF16: 2 };

/** Layers by squared error for each byte, with the shares that they hold alone and together. */
export function ranked(layers) {
  const shown = measured(layers);
  const knowsOutputs = shown.length > 0 && shown.every((layer) => Number.isFinite(layer.rounding?.output_error));
  const knowsNorms = shown.every((layer) => Number.isFinite(layer.weight_norm));
  const error = (layer) => {
    if (knowsOutputs) return layer.rounding.output_error;
    // Without norms all weights are taken as equally large.
    return layer.weight_error ** 2 * (knowsNorms ? layer.weight_norm ** 2 : elements(layer.shape));
  };
  const measures =
    shown.map((layer) => ({ name: layer.name, own: error(layer), size: elements(layer.shape) * (WIDTHS[layer.dtype] ?? 1) }));
  const sum = (key) => measures.reduce((total, measure) => total + measure[key], 0) || 1;
  const [errors, sizes] = [sum("own"), sum("size")];
  measures.sort((a, b) => b.own / b.size - a.own / a.size || (a.name < b.name ? -1 : 1));
  let [cumulative, bytes] = [0, 0];
  const steps = measures.map(
    ({ name, own, size }) =>
      ({ name, own: own / errors, size: size / sizes, error: (cumulative += own / errors), bytes: (bytes += size / sizes) }));
  const of = knowsOutputs ? "error of outputs" : knowsNorms ? "error" : "error, weights taken as equally large";
  return { steps, of };
}
