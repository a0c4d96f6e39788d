// A report as a page, the same in the studio and in a saved file.

import { element } from "../element.js";
import { compareChart, furthest, PAIR_HEAD, paired } from "../charts/compare.js";
import { errorChart } from "../charts/errors.js";
import { errorHistogram } from "../charts/histogram.js";
import { sensitivityChart } from "../charts/sensitivity.js";
import { plainTable } from "../charts/table.js";
import { becomes, bytes, counted, elements, opened, percent, seconds, shape, whole } from "../format.js";
import { column, filteredTable, numbers } from "../long_table.js";

/**
 * Shows a report.
 *
 * - `openLayer(layer)`: what a click on a layer does, where files are at hand
 * - `keep(names)`: what is done to keep layers
 */
export function reportView(report, { openLayer, keep } = {}) {
  const table = filteredTable({ label: "Layers", rows: report.tensors, columns: layerColumns(report), open: openLayer });
  const pick = (bar) => table.among(bar && ((layer) => layer.weight_error >= bar.from && layer.weight_error < bar.to));
  const isMeasured = report.tensors.some((layer) => Number.isFinite(layer.weight_error));
  return element("div.report", totals(report),
    isMeasured &&
      element("div.pictures", errorChart({ layers: report.tensors, open: openLayer }).node,
        errorHistogram({ layers: report.tensors, pick }).node, sensitivityChart({ layers: report.tensors, keep }).node),
    element("h2", "Why"), reasons(report), element("h2", "Layers"), table.node, details(report));
}

/** Shows two reports of the same model. */
export function compareView(a, b) {
  const pairs = paired(a, b);
  const row = (name, of) => [name, of(a), of(b)];
  const facts = [
    row("Output", (report) => report.output), row("Schemes", schemesOf),
    row("Method", (report) => report.recipe.method ?? "nearest"), row("Size", (report) => bytes(report.output_bytes)),
    row("Error of all weights", (report) => percent(report.weight_error)),
    row("Error of outputs, squared", (report) => percent(report.rounding?.output_error)),
    row("Converted", (report) => whole(report.converted_tensors)), row("Time", (report) => seconds(report.seconds))
  ];
  const others = new Map(b.tensors.map((layer) => [layer.name, layer]));
  const changed = a.tensors.filter((layer) => others.has(layer.name) && becomes(layer) !== becomes(others.get(layer.name)));
  return element("div.report", plainTable(["", "A", "B"], facts, "Two reports"),
    element("div.pictures", compareChart({ a, b }).node), element("h2", "Furthest apart"),
    plainTable(PAIR_HEAD, furthest(pairs, 20), "Furthest apart"),
    changed.length > 0 &&
      [
        element("h2", `${counted(changed.length, "tensor")} became something else`),
        plainTable(["Tensor", "A", "B"],
          changed.slice(0, 200).map((layer) => [layer.name, becomes(layer), becomes(others.get(layer.name))]), "What differs")
      ],
  );
}

function totals(report) {
  const { rounding } = report;
  const saved = 1 - report.output_bytes / report.input_bytes;
  const parts =
    [`sync ${seconds(report.sync_seconds)}`, Number.isFinite(report.verify_seconds) && `check ${seconds(report.verify_seconds)}`]
      .filter(Boolean)
      .join(", ");
  const fact = (name, value, more) =>
    element("div.fact", element("dt", name), element("dd", value, more && element("span.quiet", ` ${more}`)));
  return element("section.totals", { "aria-label": "Totals" },
    element("p.model", `${report.architecture} · preset ${report.preset}`,
      element("span.quiet", ` · ${report.kind} · layout ${report.layout}`)),
    element("dl.facts",
      fact("Size", bytes(report.output_bytes),
        `of ${bytes(report.input_bytes)}, ${saved >= 0 ? `${percent(saved)} less` : `${percent(-saved)} more`}`),
      fact("Error of all weights", percent(report.weight_error ?? NaN)),
      rounding && Number.isFinite(rounding.output_error) &&
        fact(
          "Error of outputs, squared", percent(rounding.output_error), `nearest codes ${percent(rounding.nearest_output_error)}`),
      rounding && Number.isFinite(rounding.objective_ratio) &&
        fact("Objective", percent(rounding.objective_ratio), `of nearest codes', ${rounding.method} on ${rounding.device}`),
      fact("Tensors", `${whole(report.converted_tensors)} converted`, `${report.rewritten_tensors ? `${whole(report.rewritten_tensors)} written anew, ` : ""}${whole(report.kept_tensors)} kept, ${whole(report.removed_tensors)} removed`),
      fact("Time", seconds(report.seconds), parts)),
    report.consumers.map(consumerLine),
    rounding && (rounding.nearest_layers > 0 || rounding.failed_layers > 0) && element("p.note", nearestOf(rounding)),
    report.notes.map((note) => element("p.note", note)));
}

/** Whether a program opens weights of a scheme: a sign, a colour and words. */
export function consumerLine(consumer) {
  const sign = { yes: "✓", no: "✗" }[consumer.opens] ?? "?";
  return element("p", { class: `consumer ${consumer.opens}` }, element("strong", consumer.scheme), ` ${sign} ${opened(consumer)}`);
}

function nearestOf({ nearest_layers, layers, failed_layers: failed, layers_without_statistics: without }) {
  const because = [failed > 0 && `${failed} searches failed`, without.length > 0 && `${without.length} without statistics`];
  const reasons = because.filter(Boolean).join(", ");
  return `Nearest codes are stored for ${counted(nearest_layers, "weight")} of ${whole(layers)}${reasons ? ` (${reasons})` : ""}.`;
}

function reasons(report) {
  const groups = new Map();
  for (const layer of report.tensors) {
    const key = JSON.stringify([becomes(layer), layer.reason]);
    groups.set(key, (groups.get(key) ?? 0) + 1);
  }
  const rows = [...groups].map(([key, count]) => [...JSON.parse(key), count]).sort((p, q) => q[2] - p[2]);
  return plainTable(["Becomes", "Because", "Tensors"], rows, "Reasons");
}

function layerColumns(report) {
  const hasRounding = report.tensors.some((layer) => layer.rounding);
  const hasOutputs = report.tensors.some((layer) => Number.isFinite(layer.rounding?.output_error));
  return [
    column("Tensor", (layer) => layer.name, "minmax(14rem, 3fr)"),
    column("Shape", (layer) => elements(layer.shape), "minmax(6rem, .9fr)", (layer) => shape(layer.shape)),
    column("Becomes", becomes, "minmax(6rem, .9fr)"), numbers("Error", (layer) => layer.weight_error, percent),
    hasRounding && numbers("Nearest", (layer) => layer.rounding?.nearest_weight_error, percent),
    hasOutputs && numbers("Outputs²", (layer) => layer.rounding?.output_error, percent),
    hasRounding && numbers("Changed", (layer) => layer.rounding?.changed_share, percent),
    numbers("Time", (layer) => layer.seconds, (time) => `${time.toFixed(2)} s`),
    column("Why", (layer) => layer.reason, "minmax(9rem, 2fr)"),
  ].filter(Boolean);
}

function details(report) {
  const hashes = (report.input_hashes ?? []).map(({ file, blake3 }) => [`BLAKE3 of ${file}`, blake3]);
  const rows = [
    ["Input", report.input], ["Output", report.output], ["Made by", `${report.tool.name} ${report.tool.version}`],
    ["Recipe", JSON.stringify(report.recipe)], ...hashes
  ];
  return element("details.view", element("summary", "How it was made"), plainTable(["What", "Value"], rows, "How it was made"));
}

function schemesOf(report) {
  return [...new Set(report.tensors.map((layer) => layer.scheme).filter(Boolean))].join(", ");
}
