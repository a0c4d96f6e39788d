// Error of each layer, in the order of the file.

import { counted, percent, percentMark } from "../format.js";
import { element } from "../element.js";
import { axes, chart, dots, legend, seriesOf } from "./chart.js";
import { linear, logarithmic, logDomain } from "./scale.js";

/**
 * Draws `‖E‖/‖W‖` of converted layers; nearest codes as ghosts where a search was made. It may grow: `update(layers, total)`.
 *
 * - `layers`: of a report
 * - `total`: layers that there will be
 * - `across`: what their order is
 */
export function errorChart({ layers, total, open, across = "layers in the order of the file" }) {
  let shown = measured(layers);
  let [whole, view, places] = [total ?? shown.length, null, null];
  const all = element("button", { type: "button", class: "small", hidden: true, onclick: () => zoom(null) }, "Show all layers");
  const made = chart({ name: "errors", title: "Error by layer", draw, open, zoom: draggedOver, actions: all });

  function draw(frame) {
    const [first, last] = view ?? [0, Math.max(whole - 1, 1)];
    const inside = shown.map((layer, index) => ({ layer, index })).filter(({ index }) => index >= first && index <= last);
    const values = inside.flatMap(({ layer }) => [layer.weight_error, ghost(layer)]).filter((value) => value > 0);
    const x = linear([first - 0.5, last + 0.5], [frame.left, frame.right]);
    const y = logarithmic(logDomain(values), [frame.bottom, frame.top]);
    places = x;
    const series = seriesOf(shown);
    // An error of 0 has no place on a logarithmic axis.
    const at = (error, index) => [x(index), y(Math.max(error, 1e-12))];
    const ghosts = inside.filter(({ layer }) => ghost(layer) > 0).map(({ layer, index }) => at(ghost(layer), index));
    const marks = inside.filter(({ layer }) => layer.weight_error > 0).map(({ layer, index }) => {
      const [markX, markY] = at(layer.weight_error, index);
      return { x: markX, y: markY, value: layer, text: sentence(layer) };
    });
    const marksOf = (scheme) => marks.filter((mark) => mark.value.scheme === scheme);
    const own = series.map((scheme, number) => dots(marksOf(scheme).map((mark) => [mark.x, mark.y]), number));
    const ghostDots = dots(ghosts, 0);
    ghostDots.setAttribute("class", "dots ghost");
    const keys = [
      ...(series.length > 1 ? series.map((scheme, number) => [number, scheme]) : []),
      ...(ghosts.length ? [["ghost", "nearest codes"]] : [])
    ];
    return {
      caption: findingOfErrors(shown, whole),
      parts: [
        axes(frame, {
          x: x.ticks(6).filter(Number.isInteger).map((tick) => [x(tick), tick + 1]),
          y: y.ticks(4).map((tick) => [y(tick), percentMark(tick)]), across, up: "‖E‖/‖W‖"
        }),
        ghosts.length ? ghostDots : null, own
      ],
      marks,
      legend: keys.length ? legend(keys) : null,
      head: ["layer", "scheme", "error", "nearest"],
      rows: worst(shown).slice(0, 100).map(
        (layer) => [layer.name, layer.scheme, percent(layer.weight_error), ghost(layer) ? percent(ghost(layer)) : "–"]),
    };
  }
  function draggedOver(from, to) {
    zoom([Math.max(0, Math.floor(places.invert(from))), Math.min(whole - 1, Math.ceil(places.invert(to)))]);
  }
  function zoom(next) {
    view = next && next[1] > next[0] ? next : null;
    all.hidden = view === null;
    made.redraw();
  }
  function update(more, count) {
    [shown, whole] = [measured(more), count ?? more.length];
    made.redraw();
  }
  return { node: made.node, update };
}

/** Layers with an error, in their order. */
export function measured(layers) {
  return layers.filter((layer) => Number.isFinite(layer.weight_error));
}

/** Layers by their error, the largest first. */
export function worst(layers) {
  return measured(layers).sort((a, b) => b.weight_error - a.weight_error || (a.name < b.name ? -1 : 1));
}

function ghost(layer) {
  return layer.rounding?.nearest_weight_error ?? null;
}

function sentence(layer) {
  const nearest = ghost(layer) ? `, nearest ${percent(ghost(layer))}` : "";
  return `${layer.name}: ${percent(layer.weight_error)} (${layer.scheme}${nearest})`;
}

function findingOfErrors(shown, whole) {
  if (shown.length === 0) return "No layer has been measured yet.";
  const [first] = worst(shown);
  const done = shown.length < whole ? `${shown.length} of ${counted(whole, "layer")} measured. ` : "";
  return `${done}Largest: ${first.name} with ${percent(first.weight_error)}.`;
}
