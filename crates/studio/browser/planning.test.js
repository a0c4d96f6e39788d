// The plan: complaints, rules by a click, long lists, what is told before the start.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { address, blocks, FIXTURE, folder, model, open, plan, studio, visit } from "./harness.js";

test("a complaint stands at its field", async (t) => {
  const page = await open(t, await studio(t));
  await plan(page, { input: FIXTURE });
  await page.getByText("Advanced", { exact: true }).click();
  await page.fill("[data-field=keep]", "attention\n(");
  await page.waitForSelector("[data-field=keep][aria-invalid=true]");
  const described = await page.getAttribute("[data-field=keep]", "aria-describedby");
  const problem = await page.textContent(`#${described.split(" ").pop()}`);
  assert.match(problem, /\(/);
  await page.fill("[data-field=keep]", "attention");
  await page.waitForSelector("[data-field=keep]:not([aria-invalid])");
  await page.fill("[data-field='run.memory_bytes']", "much");
  await page.waitForSelector("[data-field='run.memory_bytes'][aria-invalid=true]");
  await page.fill("[data-field='run.memory_bytes']", "8GiB");
  await page.waitForSelector("[data-field='run.memory_bytes']:not([aria-invalid])");
  await page.selectOption("[data-field=method]", "principal");
  await page.fill("[data-field='method_options.top_p']", "7");
  await page.waitForSelector("[data-field='method_options.top_p'][aria-invalid=true]");
});

test("the window of the first published tool is there by its names", async (t) => {
  const page = await open(t, await studio(t));
  await plan(page, { input: FIXTURE });
  await page.selectOption("[data-field=method]", "adaround");
  await page.getByText("Advanced", { exact: true }).click();
  for (const label of ["Calibration samples", "Iterations", "Learning rate", "Optimizer", "Regularization lambda", "Beta start",
         "Beta end", "T5XXL model", "Keep distillation layers"]) {
    assert.equal(await page.getByLabel(label, { exact: true }).count(), 1, label);
  }
  assert.equal(await page.getByLabel("Beta start", { exact: true }).getAttribute("placeholder"), "20");
});

test("keep on a kind keeps exactly these layers", async (t) => {
  const file = model(path.join(folder(t), "m.safetensors"), {
    ...blocks(12, { "attn.qkv.weight": [64, 32], "attn.qkv_extra.weight": [64, 32], "mlp.weight": [32, 64] }),
    // The same pattern with another shape is another kind.
    "blocks.12.attn.qkv.weight": [32, 32],
  });
  const where = await studio(t);
  const page = await open(t, where);
  await plan(page, { input: file });
  const row = page.locator("tr[data-kind='blocks.#.attn.qkv']").filter({ hasText: "64×32" });
  await row.getByRole("button", { name: "Keep" }).click();
  await page.waitForFunction(
    () => [...document.querySelectorAll("tr.kept")].some((kept) => kept.dataset.kind === "blocks.#.attn.qkv"));
  const recipe = JSON.parse(new URLSearchParams(new URL(page.url()).hash.split("?")[1]).get("recipe"));
  const { body } = await where.ask("POST", "/api/plan", { input: file, recipe, run: {} });
  const kept = body.tensors.filter((tensor) => tensor.decision === "copy").map((tensor) => tensor.name);
  assert.deepEqual(kept.sort(), Array.from({ length: 12 }, (_, index) => `blocks.${index}.attn.qkv.weight`).sort());
  // The focus stays in the row, and the way back is there.
  assert.equal(await page.evaluate(() => document.activeElement.closest("[data-kind]")?.dataset.kind), "blocks.#.attn.qkv");
  await page.locator("tr.kept[data-kind='blocks.#.attn.qkv']").getByRole("button", { name: "Convert" }).click();
  await page.waitForFunction(() => document.querySelectorAll("tr.kept").length === 0);
});

test("a scheme for a kind is a rule of the recipe", async (t) => {
  const page = await open(t, await studio(t));
  await plan(page, { input: FIXTURE });
  const choice = page.getByLabel(/^What .*intermediate.* becomes/).first();
  await choice.selectOption("int8-row");
  await page.waitForFunction(
    () => [...document.querySelectorAll(".consumer strong")].some((name) => name.textContent === "int8-row"));
  assert.match(await page.inputValue("[data-field=rules]"), /= int8-row$/);
});

test("5,000 tensors scroll and are found by the browser's search", async (t) => {
  const file = model(path.join(folder(t), "many.safetensors"),
    blocks(1250, { "a.weight": [8, 8], "b.weight": [8, 8], "c.weight": [8, 8], "d.bias": [8] }));
  const page = await open(t, await studio(t));
  await plan(page, { input: file });
  await page.getByLabel("all tensors").check();
  await page.waitForSelector(".long .block");
  assert.equal(await page.locator(".long .block [role=row]").count(), 5000);
  assert.ok(await page.evaluate(() => window.find("blocks.1249.c.weight")));
  const last = page.locator(".long .block [role=row]").last();
  await last.scrollIntoViewIfNeeded();
  assert.match(await last.textContent(), /^blocks\.999\.d\.bias/);
  assert.ok(
    await last.evaluate((row) => row.getBoundingClientRect().bottom <= row.closest(".long").getBoundingClientRect().bottom));
  await page.fill(".kinds .filter", "blocks.77 b.weight");
  assert.equal(await page.locator(".long .block [role=row]:not([hidden])").count(), 11);
  await page.locator(".long [role=row]:not([hidden]) .open").first().focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog tr.decides");
});

test("an existing file is not replaced unasked", async (t) => {
  const place = folder(t);
  const file = path.join(place, "model.safetensors");
  fs.copyFileSync(FIXTURE, file);
  const made = path.join(place, "model-fp8.safetensors");
  fs.writeFileSync(made, "mine");
  const page = await open(t, await studio(t));
  await plan(page, { input: file });
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForSelector("dialog");
  await page.getByRole("button", { name: "Choose another name" }).click();
  assert.equal(fs.readFileSync(made, "utf8"), "mine");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByRole("button", { name: "Replace it" }).click();
  await page.waitForSelector(".job-page .done-as strong");
  assert.ok(fs.statSync(made).size > 1000);
});

test("a full disk is told before the start", async (t) => {
  const file = model(path.join(folder(t), "huge.safetensors"), { "huge.weight": [1 << 20, 1 << 20] }, { isSparse: true });
  const where = await studio(t);
  const page = await open(t, where);
  await plan(page, { input: file });
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForSelector("[data-field=output][aria-invalid=true]");
  assert.match(await page.textContent(".settings"), /needs 1\.00 TiB, and .* free there/);
  const { body } = await where.ask("GET", "/api/jobs");
  assert.deepEqual(body.jobs, []);
});

test("a file that is no weight file is refused in one clear line", async (t) => {
  const file = path.join(folder(t), "no.safetensors");
  fs.writeFileSync(file, "this is no weight file");
  const page = await open(t, await studio(t), { hash: `#/plan?input=${encodeURIComponent(file)}` });
  await page.waitForSelector(".notice");
  assert.match(await page.textContent(".notice"), /no\.safetensors/);
});

test("an older answer never replaces a newer one", async (t) => {
  const page = await open(t, await studio(t));
  await plan(page, { input: FIXTURE });
  // The first of two answers comes last.
  let held = 0;
  await page.route("**/api/plan", async (route) => {
    held += 1;
    if (held === 1) await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue().catch(() => {});
  });
  await page.selectOption("[data-field=scheme]", "nvfp4");
  await page.waitForTimeout(400);
  await page.selectOption("[data-field=scheme]", "int8-row");
  await page.waitForFunction(() => document.querySelector(".consumer strong")?.textContent === "int8-row");
  await page.waitForTimeout(1500);
  assert.equal(await page.textContent(".consumer strong"), "int8-row");
});

test("a budget becomes the schemes of layers, and the file keeps it", async (t) => {
  const file = path.join(folder(t), "model.safetensors");
  fs.copyFileSync(FIXTURE, file);
  const page = await open(t, await studio(t));
  await plan(page, { input: file });
  await page.getByText("Keep a budget").click();
  await page.getByRole("button", { name: "Choose schemes" }).click();
  await page.waitForSelector("[data-field='budget.size'][aria-invalid=true]");
  await page.getByLabel("At most", { exact: true }).fill("1.2MB");
  await page.getByRole("button", { name: "Choose schemes" }).click();
  await page.waitForSelector("[data-chart='trade-off'] .dots");
  const promised = await page.locator("details.view .sizes strong").textContent();
  await page.getByRole("button", { name: "Use these schemes" }).click();
  await page.waitForFunction((wanted) => document.querySelector(".summary .to")?.textContent === wanted, promised);
  await page.getByText("Layers have the schemes that a budget chose").waitFor();
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForSelector(".job-page .done-as strong");
  const [made] = fs.readdirSync(path.dirname(file)).filter((name) => /^model-.*safetensors$/.test(name));
  const { size } = fs.statSync(path.join(path.dirname(file), made));
  assert.ok(size <= 1_200_000 && size > 1_000_000, `${size} bytes`);
});

test("a file that cannot be read is one clear line with ways out", async (t) => {
  const place = folder(t);
  const file = path.join(place, "model.safetensors");
  const whole = fs.readFileSync(FIXTURE);
  fs.writeFileSync(file, whole.subarray(0, 100_000));
  const page = await open(t, await studio(t));
  await visit(page, address("plan", { input: file }));
  await page.waitForSelector(".notice");
  assert.match(await page.textContent(".notice"), /cut short or still being written; fetch it again/);
  fs.writeFileSync(file, whole);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.waitForSelector(".summary .to");
  fs.rmSync(file);
  await page.selectOption("[data-field=scheme]", "nvfp4");
  await page.getByRole("link", { name: "Choose another file" }).click();
  await page.waitForFunction((wanted) => document.querySelector(".folder .path")?.textContent === wanted, place);
});
