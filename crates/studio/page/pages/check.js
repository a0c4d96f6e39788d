// Looking at a file, and what is done with files that are in codes already.

import { post } from "../api.js";
import { element, fill } from "../element.js";
import { plainTable } from "../charts/table.js";
import { bytes, counted, fileName, opened, whole } from "../format.js";
import { address, remember, visit } from "../route.js";
import { button, choice, field, mayReplace, notice, pathField, refuse, verdict } from "../widgets.js";
import { findingList } from "./verification.js";

/** Check. `input`: a file; `converted`: one to compare it with. */
export function checkPage({ input, converted }, { vocabulary }) {
  const said = element("div");
  const found = element("div");
  const works = element("div.works", { hidden: true });
  const chosen = pathField(
    { label: "File", key: "input", value: input, kinds: ["model", "folder"], onchange: (path) => visit("check", { input: path }) });
  const node = element("div.check", chosen.node, said, found, works);

  async function submit(kind, more) {
    fill(said);
    try {
      const { id } = await post("/api/jobs", { kind, input, recipe: {}, run: {}, starts: true, ...more });
      visit("job", { id });
    } catch (error) {
      if (error.kind !== "exists" || more.replace) refuse(node, said, error);
      else if (await mayReplace(error.message)) await submit(kind, { ...more, replace: true });
    }
  }
  async function show() {
    fill(found, element("p.quiet", "Reading headers…"));
    try {
      const subject = await post("/api/inspect", { path: input });
      fill(found, inspected(subject), diagnosis(subject.diagnosis));
      works.hidden = false;
      fill(works, workForms(subject));
    } catch (error) {
      fill(found, notice(error));
    }
  }
  function diagnosis(sick) {
    if (!sick) return null;
    const { repairs, defects } = sick;
    if (repairs.length + defects.length === 0)
      return verdict(true, "No known defect of layers in codes.");
    return element("section", element("h2", `${counted(repairs.length + defects.length, "defect")}`),
      repairs.length > 0 &&
        [
          findingList(repairs),
          element("p", button("Repair", () => submit("repair", { recipe: { repair: true } }), { class: "main" }),
            element("span.quiet", " writes a repaired file beside this one; codes stay what they are"))
        ],
      defects.length > 0 &&
        [element("h3", "Without remedy"), findingList(defects), element("p.quiet", "Start from the original weights.")]);
  }
  function workForms() {
    let [dtype, layout, other, statistics] = [vocabulary.dtypes[0], vocabulary.layouts[0], converted ?? "", ""];
    const form = (title, help, fields, label, work) =>
      element("form.work", { onsubmit: (event) => (event.preventDefault(), work()) }, element("h2", title), element("p.help", help),
        fields, element("p.actions", element("button", label)));
    return [
      form("Verify", "Is a converted file what it should be? Every layer in codes is decoded and compared with this file.",
        [
          pathField({
            label: "Converted file", key: "output", value: other, kinds: ["model", "folder"],
            onchange: (path) => ((other = path), remember("check", { input, converted: other }))
          }).node,
          pathField({
            label: "Statistics", key: "run.statistics", kinds: ["statistics"], placeholder: "none",
            onchange: (path) => (statistics = path)
          }).node
        ],
        "Verify", () => submit("verify", { output: other, run: statistics ? { statistics } : {} })),
      form("Dequantize", "Codes become plain numbers, exactly.",
        field({ label: "Stored as", key: "decode_to", control: choice(vocabulary.dtypes, dtype, (value) => (dtype = value)) }),
        "Dequantize", () => submit("dequantize", { recipe: { decode_to: dtype } })),
      form("Migrate", "The same codes in another layout.",
        field({ label: "Layout", key: "migrate_to", control: choice(vocabulary.layouts, layout, (value) => (layout = value)) }),
        "Migrate", () => submit("migrate", { recipe: { migrate_to: layout } })),
      element("div.work", element("h2", "Convert"),
        element("p.help", "To another scheme; of layers in codes each is decoded with its own scale first."),
        element("p.actions", element("a.button", { href: address("plan", { input }) }, "Plan a conversion"))),
    ];
  }
  if (input) void show();
  return { title: input ? fileName(input) : "Check", node };
}

function inspected(subject) {
  const facts = [
    ["What", `${subject.kind} · ${subject.architecture}`],
    [
      "Names",
      [subject.dialect, subject.prefix && `prefix ${subject.prefix}`, subject.wrapper && `wrapped in ${subject.wrapper}`]
        .filter(Boolean)
        .join(", ")
    ],
    ["Size", `${bytes(subject.bytes)} in ${counted(subject.files, "file")}`], ["Preset", subject.preset],
    ["Opened as it is by", subject.opened_by.join(", ") || "not known"], subject.fp8_consumer && ["In fp8", opened(subject.fp8_consumer)],
    ...subject.remarks.map((remark) => ["Remark", remark])
  ].filter(Boolean);
  const { provenance, metadata } = subject;
  const made = provenance &&
    [["Made by", `roundwise ${provenance.version}`], provenance.command && ["Command", provenance.command]].filter(Boolean);
  return element(
    "section",
    plainTable(["Fact", "Value"], [...facts, ...(made ?? [])], "What the file is"),
    subject.quantized.length > 0 &&
      [
        element("h2", "In codes"),
        plainTable(["Scheme", "Spelling", "Layers"],
          subject.quantized.map(({ scheme, spelling, layers }) => [scheme, spelling, layers]), "Layers in codes")
      ],
    element("details.view", element("summary", `Dtypes and header (${counted(subject.dtypes.length, "dtype")})`),
      plainTable(["Dtype", "Tensors", "Elements", "Size"],
        subject.dtypes.map(({ dtype, tensors, elements, bytes: size }) => [dtype, whole(tensors), whole(elements), bytes(size)]),
        "Dtypes"),
      Object.keys(metadata ?? {}).length > 0 &&
        plainTable(["Key", "Value"],
          Object.entries(metadata).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]),
          "Header")),
  );
}
