// A report, or two beside each other.

import { get, getText, post } from "../api.js";
import { element, fill } from "../element.js";
import { tileMap, valueHistogram } from "../charts/layer.js";
import { fileName } from "../format.js";
import { queue, refresh } from "../jobs.js";
import { address, visit } from "../route.js";
import { ask, attempt, button, folderList, notice, pickPath, save } from "../widgets.js";
import { titleOf } from "./queue.js";
import { compareView, reportView } from "./report_view.js";

/** Report. `path` or `job`; `with`: path of a report to compare with. */
export function reportPage({ path, job, with: other }, { say, rename }) {
  const said = element("div");
  const place = element("div", element("p.quiet", "Reading…"));
  const beside = element("div.actions");
  const node = element("div", said, place);
  if (!path && !job) {
    void showChoice(place);
    return { title: "Report", node };
  }
  const tried = (work) => () => attempt(said, work);
  const source = { path, job };

  async function show() {
    const report = await get("/api/report", source);
    const second = other ? await get("/api/report", other.startsWith("job:") ? { job: other.slice(4) } : { path: other }) : null;
    rename(
      second ? `${fileName(report.output)} and ${fileName(second.output)}` : fileName(report.output));
    fill(beside, actions(report, second));
    fill(place,
      second ? compareView(report, second)
             : reportView(report, { openLayer: (layer) => showLayer(report, layer), keep: (names) => keepLayers(report, names) }));
  }
  function actions(report, second) {
    return [
      button(second ? "Only the first" : "Compare with…", tried(async () => {
        const picked = second ? null : await chooseReport(job);
        if (second || picked) visit("report", { ...source, with: picked ?? undefined });
      })),
      !second && button("Verify", tried(async () => visit("job", {
        id: (await post(
               "/api/jobs", { kind: "verify", input: report.input, output: report.output, recipe: {}, run: {}, starts: true }))
          .id
      }))),
      button("Save as HTML",
        tried(async () => (save(`${fileName(report.output)}.report.html`,
                             await getText("/api/report.html", given({ ...source, other })), "text/html"),
                say("Saved")))),
      !second &&
        button("Download JSON",
          () => save(`${fileName(report.output)}.report.json`, `${JSON.stringify(report, null, 2)}\n`, "application/json")),
    ];
  }
  void tried(() => show().catch((error) => {
    fill(place, element("a.button", { href: address("report") }, "Choose another report"));
    throw error;
  }))();
  return { title: "Report", beside, node };
}

function given(query) {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined));
}

async function showChoice(place) {
  await refresh().catch(() => {});
  const done = queue().jobs.filter((job) => job.state === "done" && job.kind === "convert");
  const list = folderList({ kinds: ["report"], pick: (entry) => visit("report", { path: entry.path }) });
  fill(place,
    done.length > 0 &&
      [
        element("h2", "Jobs that are done"),
        element("ul", done.map((job) => element("li", element("a", { href: address("report", { job: job.id }) }, titleOf(job)))))
      ],
    element("h2", "Reports in files"), list.node);
}

/** Resolves to the path of a report, or `job:ID`, or null. */
async function chooseReport(own) {
  await refresh().catch(() => {});
  const done = queue().jobs.filter((job) => job.state === "done" && job.kind === "convert" && job.id !== own);
  const fromFile = async () => (await pickPath({ title: "Compare with", kinds: ["report"] }))?.path ?? null;
  if (done.length === 0) return fromFile();
  const picked = element("select", { "aria-label": "Report" },
    done.map((job) => element("option", { value: `job:${job.id}` }, titleOf(job))), element("option", { value: "file" }, "a file…"));
  if ((await ask("Compare with", element("p", picked), [["ok", "Compare"], ["cancel", "Cancel"]])) !== "ok") return null;
  return picked.value === "file" ? fromFile() : picked.value;
}

/** Plans the same conversion with some layers kept. */
function keepLayers(report, names) {
  // Names are texts, and what is kept is named by expressions.
  const { recipe } = report;
  const patterns = names.map((name) => `^${name.replace(/\.weight$/, "").replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);
  visit("plan", { input: report.input, recipe: { ...recipe, keep: [...patterns, ...(recipe.keep ?? [])] } });
}

async function showLayer(report, layer) {
  // What is in no codes has no error to draw.
  if (!layer.scheme) return ask(layer.name, element("p", `${layer.reason}: no error.`), [["close", "Close"]]);
  const content = element("div.layer", element("p.quiet", "Reading the weights…"));
  const closed = ask(layer.name, content, [["close", "Close"]]);
  try {
    const found = await post("/api/layer", { original: report.input, converted: report.output, tensor: layer.name });
    fill(content, valueHistogram({ name: "weights", title: "Weights", histogram: found.weights, across: "value" }).node,
      valueHistogram({ name: "layer-errors", title: "Errors", histogram: found.errors, across: "stored − original" }).node,
      tileMap({ tiles: found.tiles, of: layer.shape }).node);
  } catch (error) {
    fill(content, notice(error));
  }
  await closed;
}
