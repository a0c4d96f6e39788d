// The page of a saved report: the parts below in one file, with one or two reports in it.
//
// REPORT_FILES: element.js format.js long_table.js charts/scale.js charts/table.js charts/chart.js charts/errors.js
// charts/histogram.js charts/sensitivity.js charts/compare.js pages/report_view.js report_main.js
//
// Whoever joins them, in this order, leaves out lines that begin with `import` and the word `export`.

import { element, fill } from "./element.js";
import { fileName } from "./format.js";
import { compareView, reportView } from "./pages/report_view.js";

const { reports } = JSON.parse(document.getElementById("report").textContent);
const outputs = reports.map((report) => fileName(report.output)).join(" and ");
document.title = `${outputs} – roundwise`;
fill(
  document.getElementById("main"), element("h1", outputs), reports.length > 1 ? compareView(...reports) : reportView(reports[0]));
