// From a file to a report.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { address, FIXTURE, folder, open, plan, reaches, ROUNDWISE, slowModel, SLOW, studio, tabTo, visit } from "./harness.js";

function fixtureIn(place) {
  const file = path.join(place, "model.safetensors");
  fs.copyFileSync(FIXTURE, file);
  return file;
}

test("a file becomes a report without the mouse", async (t) => {
  const file = fixtureIn(folder(t));
  const page = await open(t, await studio(t));
  await page.keyboard.press("/");
  await page.keyboard.type(file);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".summary .to");
  await tabTo(page, "Start");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".job-page .done-as strong");
  await tabTo(page, "Report");
  await page.keyboard.press("Enter");
  await page.waitForSelector("[data-chart=errors]");
  assert.equal(await page.textContent("h1"), "model-fp8.safetensors");
  await tabTo(page, "Error by layer");
  await page.keyboard.press("ArrowRight");
  assert.match(await page.textContent("[data-chart=errors] .readout"), /: 2\.\d\d % \(fp8\)/);
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog [data-chart=tiles]");
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  await page.keyboard.type("pooler");
  assert.ok(fs.existsSync(path.join(path.dirname(file), "model-fp8.safetensors")));
});

test("the size promised is the size made", async (t) => {
  const file = fixtureIn(folder(t));
  const where = await studio(t);
  const page = await open(t, where);
  for (const scheme of ["fp8", "int8-row", "nvfp4"]) {
    await plan(page, { input: file, recipe: JSON.stringify({ scheme }) });
    await page.waitForFunction((wanted) => document.querySelector(".consumer strong")?.textContent === wanted, scheme);
    const promised = await page.textContent(".summary .to");
    const answer = await where.ask("POST", "/api/plan", { input: file, recipe: { scheme }, run: {} });
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.waitForSelector(".job-page .done-as strong");
    assert.equal(fs.statSync(answer.body.output).size, answer.body.output_bytes);
    assert.equal(
      promised, await page.evaluate(async (bytes) => (await import("/format.js")).bytes(bytes), answer.body.output_bytes));
  }
});

test("the command shown makes the same file", async (t) => {
  const place = folder(t);
  const file = fixtureIn(place);
  const page = await open(t, await studio(t));
  const recipe = { scheme: "int8-row", keep: ["value|it's \"0\""], rules: [{ pattern: "key", scheme: "fp8" }] };
  await plan(page, { input: file, recipe: JSON.stringify(recipe) });
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForSelector(".job-page .done-as strong");
  await page.getByText("Command", { exact: true }).click();
  const command = await page.textContent(".command code");
  const made = path.join(place, "model-int8-row.safetensors");
  const first = fs.readFileSync(made);
  fs.rmSync(made);
  execFileSync("sh", ["-c", command], { env: { ...process.env, PATH: `${path.dirname(ROUNDWISE)}:${process.env.PATH}` } });
  assert.ok(first.equals(fs.readFileSync(made)), command);
});

test("the title counts in a hidden tab", async (t) => {
  const where = await studio(t);
  const file = slowModel(path.join(folder(t), "slow.safetensors"));
  // A tab that is not seen draws no frames.
  const page = await open(t, where, { init: () => (window.requestAnimationFrame = () => 0) });
  await plan(page, { input: file, recipe: JSON.stringify(SLOW) });
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForFunction(() => /^\d+ % · .* left – /.test(document.title), null, { timeout: 60_000, polling: 100 });
  const { body } = await where.ask("GET", "/api/jobs");
  await where.ask("POST", `/api/jobs/${body.jobs[0].id}/stop`, {});
  await reaches(where, body.jobs[0].id, ["stopped"]);
  await page.waitForFunction(() => !/%/.test(document.title), null, { polling: 100 });
});

test("three setups are tried, and one is used", async (t) => {
  const page = await open(t, await studio(t));
  await plan(page, { input: fixtureIn(folder(t)) });
  await page.getByText("Try three setups").click();
  await page.getByRole("button", { name: "Try these" }).click();
  const rows = page.locator("section, details").filter({ hasText: "Try three setups" }).locator("tbody tr");
  await page.waitForFunction(() => [...document.querySelectorAll("details.view tbody tr td:nth-child(3)")]
                                     .filter((cell) => /%$/.test(cell.textContent))
                                     .length >= 3,
    null, { timeout: 120_000 });
  const error = await rows.nth(2).locator("td").nth(2).textContent();
  assert.match(error, /^\d+\.\d+ %$/);
  await rows.nth(2).getByRole("button", { name: "Use" }).click();
  await page.waitForFunction(() => new URLSearchParams(location.hash.split("?")[1]).get("recipe") !== null);
});

test("a saved report opens without a server", async (t) => {
  const place = folder(t);
  const file = fixtureIn(place);
  const where = await studio(t);
  const page = await open(t, where);
  const { body } = await where.ask("POST", "/api/jobs", { kind: "convert", input: file, recipe: {}, run: {}, starts: true });
  await reaches(where, body.id, ["done"]);
  await visit(page, address("report", { job: body.id }));
  await page.waitForSelector("[data-chart=errors] .dots");
  const shown = await page.locator("[data-chart] figcaption").allTextContents();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save as HTML" }).click();
  const saved = path.join(place, "report.html");
  await (await download).saveAs(saved);
  const offline = await page.context().newPage();
  const asked = [];
  offline.on("request", (request) => asked.push(request.url()));
  await offline.goto(`file://${saved}`);
  await offline.waitForSelector("[data-chart=errors] .dots");
  assert.deepEqual(await offline.locator("[data-chart] figcaption").allTextContents(), shown);
  assert.deepEqual(asked, [`file://${saved}`]);
});
