// Looking at files, mending them, statistics, finding what was dropped.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { address, FIXTURE, folder, open, reaches, studio, visit } from "./harness.js";

const FIXTURES = fileURLToPath(new URL("../../../fixtures/", import.meta.url));

function copied(t, file) {
  const copy = path.join(folder(t), path.basename(file));
  fs.copyFileSync(file, copy);
  return copy;
}

test("a defect is told with whom it breaks, and mended by a click", async (t) => {
  const file = copied(t, path.join(FIXTURES, "broken/marker-zeroed.safetensors"));
  const page = await open(t, await studio(t), { hash: address("check", { input: file }) });
  await page.waitForSelector(".findings");
  assert.match(await page.textContent(".findings"), /breaks .*remedy: /);
  await page.getByRole("button", { name: "Repair" }).click();
  await page.waitForSelector(".job-page .done-as strong");
  const mended = file.replace(".safetensors", "-repaired.safetensors");
  await visit(page, address("check", { input: mended }));
  await page.waitForSelector(".verdict.good");
});

test("a converted file is verified, dequantized and migrated from its page", async (t) => {
  const file = copied(t, FIXTURE);
  const where = await studio(t);
  const { body } = await where.ask("POST", "/api/jobs", { kind: "convert", input: file, recipe: {}, run: {}, starts: true });
  const { output } = await reaches(where, body.id, ["done"]);
  const page = await open(t, where, { hash: address("check", { input: file }) });
  await page.getByLabel("Converted file", { exact: true }).fill(output);
  await page.getByLabel("Converted file", { exact: true }).press("Enter");
  await page.waitForSelector(".job-page .verdict.good");
  for (const [work, made] of [["Dequantize", "bf16"], ["Migrate", "comfy-legacy"]]) {
    await visit(page, address("check", { input: output }));
    await page.locator("form.work").filter({ hasText: work }).locator("select").selectOption(made);
    await page.getByRole("button", { name: work }).click();
    await page.waitForSelector(".job-page .done-as strong");
    assert.match(await page.textContent(".job-page .done-as strong"), new RegExp(made));
  }
});

test("the collector is written where ComfyUI looks for it", async (t) => {
  const comfy = folder(t);
  const page = await open(t, await studio(t), { hash: "#/statistics" });
  await page.getByLabel("Folder of ComfyUI", { exact: true }).fill(comfy);
  await page.getByRole("button", { name: "Write the nodes" }).click();
  await page.waitForSelector("[data-field=folder][aria-invalid=true]");
  fs.mkdirSync(path.join(comfy, "custom_nodes"));
  await page.getByRole("button", { name: "Write the nodes" }).click();
  await page.waitForSelector(".collector .verdict.good");
  const written = path.join(comfy, "custom_nodes/comfyui-roundwise/roundwise_collect.py");
  assert.match(fs.readFileSync(written, "utf8"), /NODE_CLASS_MAPPINGS/);
  fs.writeFileSync(written, "mine");
  await page.getByRole("button", { name: "Write the nodes" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  assert.equal(fs.readFileSync(written, "utf8"), "mine");
});

test("statistics show their layers, samples and warnings", async (t) => {
  const page =
    await open(t, await studio(t), { hash: address("statistics", { path: path.join(FIXTURES, "stats/small.stats.safetensors") }) });
  await page.waitForSelector(".long .block");
  assert.match(await page.textContent(".statistics"), /4 layers, collected by .*fewer samples than inputs/s);
});

test("a dropped file is found by its name and size", async (t) => {
  const file = copied(t, FIXTURE);
  const page = await open(t, await studio(t), { hash: address("open", { path: path.dirname(file) }) });
  await page.getByRole("button", { name: path.basename(file) }).waitFor();
  await page.evaluate(
    ({ name, size }) => {
      const dropped = new File([], name);
      Object.defineProperty(dropped, "size", { value: size });
      const event = new Event("drop", { bubbles: true, cancelable: true });
      Object.defineProperty(event, "dataTransfer", { value: { files: [dropped] } });
      document.querySelector(".drop").dispatchEvent(event);
    },
    { name: path.basename(file), size: fs.statSync(file).size },
  );
  await page.waitForSelector(".summary .to");
  assert.equal(await page.textContent("h1"), path.basename(file));
});

test("two reports are compared", async (t) => {
  const file = copied(t, FIXTURE);
  const where = await studio(t);
  for (const scheme of ["fp8", "int8-row"]) {
    const { body } = await where.ask("POST", "/api/jobs", { kind: "convert", input: file, recipe: { scheme }, run: {}, starts: true });
    await reaches(where, body.id, ["done"]);
  }
  const page = await open(t, where, { hash: address("report", { job: "1" }) });
  await page.getByRole("button", { name: "Compare with…" }).click();
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.waitForSelector("[data-chart=compare] .dots");
  assert.match(await page.textContent("[data-chart=compare] figcaption"), /B is lower in 6 of 6 layers/);
});

test("a file given on the command line is opened", async (t) => {
  const page = await open(t, await studio(t, { start: FIXTURE }));
  await page.waitForSelector(".summary .to");
  assert.equal(await page.textContent("h1"), path.basename(FIXTURE));
});
