// Size of the output in each scheme.

import { drawn } from "../element.js";
import { bytes } from "../format.js";
import { chart, dot, legend } from "./chart.js";
import { linear } from "./scale.js";

const PARTS = [["codes_bytes", "codes"], ["scales_bytes", "scales"], ["kept_bytes", "kept"]];
/** What is neither: the header, and what tells programs about codes. */
const REST = PARTS.length;
const ROW = 24;

/**
 * Draws bars of codes, scales and kept tensors, one for each scheme.
 *
 * - `sizes`: of `/api/sizes`; refused ones are left out
 * - `use(scheme)`: gets the scheme of a chosen bar
 */
export function sizeChart({ sizes, current, use }) {
  const shown = sizes.filter((size) => !size.refused && size.output_bytes).sort((a, b) => a.output_bytes - b.output_bytes);
  return chart(
    { name: "sizes", title: "Size by scheme", height: 16 + ROW * shown.length, draw, open: use && ((size) => use(size.scheme)) });

  function draw(frame) {
    const [left, top, end] = [Math.min(170, frame.width * 0.38), 8, frame.width - 78];
    const x = linear([0, Math.max(...shown.map((size) => size.output_bytes), 1)], [left, end]);
    const rows = shown.map((size, index) => ({ size, y: top + index * ROW }));
    const bar = ({ size, y }) => {
      const parts = PARTS.map(([key], number) => [number, size[key] ?? 0]);
      const told = parts.reduce((sum, [, count]) => sum + count, 0);
      parts.push([REST, Math.max(0, size.output_bytes - told)]);
      let from = 0;
      return parts.filter(([, count]) => count > 0).map(([number, count]) => {
        const [start, stop] = [x(from), x((from += count))];
        return drawn(
          "rect", { class: `part-${number}`, x: dot(start), y: y + 3, width: dot(Math.max(0.5, stop - start)), height: ROW - 8 });
      });
    };
    return {
      caption: shown.length ? `Smallest: ${sized(shown[0])}; largest: ${sized(shown.at(-1))}.` : "No scheme fits this file.",
      parts: [
        rows.map(({ size, y }) => drawn("text",
                   { class: size.scheme === current ? "tick up current" : "tick up", x: left - 8, y: y + ROW / 2 + 3 },
                   size.scheme === current ? `▸ ${size.scheme}` : size.scheme)),
        rows.map(bar),
        rows.map(({ size, y }) =>
          drawn("text.tick.start", { x: dot(x(size.output_bytes) + 6), y: y + ROW / 2 + 3 }, bytes(size.output_bytes))),
      ],
      marks: rows.map(({ size, y }) => ({
        x: x(size.output_bytes), y: y + ROW / 2, value: size,
        text: `${size.scheme}: ${bytes(size.output_bytes)}, ${size.opened_by ?? "no program is known to open it"}`
      })),
      legend: legend([...PARTS.map(([, name], number) => [`part-${number}`, name]), [`part-${REST}`, "header"]]),
      head: ["scheme", "size", "codes", "scales", "kept", "opened by"],
      rows: sizes.map(
        (size) => [size.scheme, size.refused ? "–" : bytes(size.output_bytes),
          ...PARTS.map(([key]) => (size[key] === undefined ? "–" : bytes(size[key]))), size.refused ?? size.opened_by ?? "–"]),
    };
  }
}

function sized({ scheme, output_bytes }) {
  return `${scheme} with ${bytes(output_bytes)}`;
}
