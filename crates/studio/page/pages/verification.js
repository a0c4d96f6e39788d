// What a comparison of two files found.

import { element } from "../element.js";
import { counted, fileName, percent } from "../format.js";
import { filteredTable } from "../long_table.js";

/** Shows a verification. */
export function verificationView({ original, converted, ok, defects, identical, removed, layers }) {
  const found = [
    `${counted(identical, "tensor")} byte for byte the same`, `${counted(layers.length, "layer")} in codes`,
    `${counted(removed?.length ?? 0, "tensor")} left out on purpose`
  ];
  return [
    element("p", { class: ok ? "verdict good" : "verdict bad" }, element("span", { "aria-hidden": "true" }, ok ? "✓ " : "✗ "),
      ok ? `Nothing is wrong with ${fileName(converted)}.` : `${counted(defects.length, "defect")} in ${fileName(converted)}.`),
    element("p", `Against ${fileName(original)}: ${found.join(", ")}.`),
    defects.length > 0 && findings(defects),
    layers.length > 0 && filteredTable({
      label: "Layers in codes",
      rows: layers,
      columns: [
        { title: "Layer", of: (layer) => layer.name, width: "minmax(14rem, 3fr)" },
        { title: "Scheme", of: (layer) => layer.scheme, width: "minmax(7rem, 1fr)" }, {
          title: "Error", of: (layer) => layer.weight_error, cell: (layer) => percent(layer.weight_error), number: true,
          width: "minmax(5rem, .7fr)"
        },
        {
          title: "Largest step",
          of: (layer) => layer.largest_step,
          cell: (layer) => (layer.largest_step ?? NaN).toFixed(2),
          number: true,
          width: "minmax(6rem, .7fr)"
        }
      ]
    }).node,
  ];
}

/** Defects, each with whom it breaks and what helps. */
export function findings(list) {
  return element("ul.findings",
    list.map((finding) => element("li", element("strong", finding.tensor || "the file"), ` ${finding.problem}`,
               finding.breaks && element("span.quiet", ` · breaks ${finding.breaks}`),
               finding.remedy && element("span", ` · remedy: ${finding.remedy}`))));
}
