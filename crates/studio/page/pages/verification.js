// What a comparison of two files found.

import { element } from "../element.js";
import { counted, fileName, percent } from "../format.js";
import { column, filteredTable, numbers } from "../long_table.js";
import { verdict } from "../widgets.js";

/** Shows a verification. */
export function verificationView({ original, converted, ok, findings, identical_tensors, removed_names, layers }) {
  const found = [
    `${counted(identical_tensors, "tensor")} byte for byte the same`, `${counted(layers.length, "layer")} in codes`,
    `${counted(removed_names.length, "tensor")} left out on purpose`
  ];
  return [
    verdict(
      ok, ok ? `Nothing is wrong with ${fileName(converted)}.` : `${counted(findings.length, "defect")} in ${fileName(converted)}.`),
    element("p", `Against ${fileName(original)}: ${found.join(", ")}.`),
    findings.length > 0 && findingList(findings),
    layers.length > 0 && filteredTable({
      label: "Layers in codes",
      rows: layers,
      columns: [
        column("Layer", (layer) => layer.name, "minmax(14rem, 3fr)"), column("Scheme", (layer) => layer.scheme, "minmax(7rem, 1fr)"),
        numbers("Error", (layer) => layer.weight_error, percent),
        numbers("Largest step", (layer) => layer.largest_step, (step) => step.toFixed(2))
      ]
    }).node,
  ];
}

/** What is wrong, each with whom it breaks and what helps. */
export function findingList(list) {
  return element("ul.findings",
    list.map((finding) => element("li", element("strong", finding.tensor || "the file"), ` ${finding.problem}`,
               finding.breaks && element("span.quiet", ` · breaks ${finding.breaks}`),
               finding.remedy && element("span", ` · remedy: ${finding.remedy}`))));
}
