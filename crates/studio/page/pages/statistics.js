// Statistics of real inputs: what a file of them holds, and how to get one.

import { get, post } from "../api.js";
import { element, fill } from "../element.js";
import { counted, fileName, percent, whole } from "../format.js";
import { column, filteredTable, numbers } from "../long_table.js";
import { address, visit } from "../route.js";
import { attempt, button, complain, mayReplace, pathField, refuse, verdict } from "../widgets.js";

/** Statistics. `path`: a file of them. */
export function statisticsPage({ path }) {
  const place = element("div");
  const chosen = pathField({
    label: "File of statistics", key: "path", value: path, kinds: ["statistics"],
    placeholder: "model.stats.safetensors, or an importance matrix of llama.cpp",
    onchange: (picked) => visit("statistics", { path: picked })
  });
  const node = element("div.statistics",
    element("p",
      "How much an error of a weight shows depends on what goes into its layer. Statistics say what did, while you used the model; with them the error of outputs falls to about a third, at the same size and speed."),
    chosen.node, place, collector());
  if (path) void show(place, path);
  return { title: path ? fileName(path) : "Statistics", node };
}

function show(place, path) {
  return attempt(place, async () => {
    const { tool, layers, few } = await get("/api/statistics", { path });
    const isFew = new Set(few);
    fill(
      place,
      element("p", `${counted(layers.length, "layer")}, collected by ${tool}. `,
        element("a", { href: address("open") }, "Open a model"), " and choose this file as its statistics."),
      isFew.size > 0
        ? element("p.note",
            `${counted(isFew.size, "layer")} with fewer samples than inputs: collect more, or what is learned fits the samples.`)
        : verdict(true, "Every layer has at least as many samples as inputs; ten times as many are plenty."),
      filteredTable({
        label: "Layers",
        rows: layers,
        columns: [
          column("Layer", (layer) => layer.name, "minmax(14rem, 3fr)"), numbers("Inputs", (layer) => layer.columns, whole),
          numbers("Samples", (layer) => layer.samples, whole),
          column("Second moment", (layer) => layer.second_moment, "minmax(8rem, 1fr)"),
          numbers("Rank energy", (layer) => layer.rank_energy, percent, "minmax(7rem, .8fr)"),
          column("Enough", (layer) => (isFew.has(layer.name) ? "few samples" : "yes"), "minmax(6rem, .7fr)"),
        ],
      }).node,
    );
  });
}

/** How to collect, and a button that puts the collector where ComfyUI finds it. */
function collector() {
  const said = element("div");
  const chosen = pathField(
    { label: "Folder of ComfyUI", key: "folder", kinds: ["folder"], placeholder: "/home/me/ComfyUI", onchange: () => {} });
  const box = element("section.collector", element("h2", "Collect them in ComfyUI"),
    element("ol",
      element("li",
        "Write the collector into custom_nodes: a single Python file with two nodes, which needs nothing that ComfyUI does not have.",
        chosen.node, element("p.actions", button("Write the collector", () => write(false))), said),
      element("li", "Restart ComfyUI and load the model as it was published, not a quantized file."),
      element("li", "Put ", element("em", "Collect layer statistics"), " between loader and sampler, and ",
        element("em", "Save layer statistics"), " after the image."),
      element("li", "Generate some twenty images of the kind you usually make; ",
        element("code", "output/NAME.stats.safetensors"), " grows with each.")),
    element("p.help", "For language models: ", element("code", "roundwise stats collector > roundwise_collect.py"),
      ", then run it with Python on the folder of the model. Importance matrices of llama.cpp work as well."));

  async function write(replace) {
    fill(said);
    complain(box, []);
    try {
      const { path } = await post("/api/collector", { folder: chosen.control.value.trim(), replace });
      fill(said, verdict(true, `Written: ${path}. Restart ComfyUI.`));
    } catch (error) {
      if (error.kind !== "exists") refuse(box, said, error);
      else if (await mayReplace(error.message)) await write(true);
    }
  }
  return box;
}
