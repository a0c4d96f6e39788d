// Every page in light and dark, wide and narrow: axe finds nothing, nothing is cut off.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { before, test } from "node:test";

import { address, AXE, FIXTURE, folder, model, blocks, open, PICTURES, reaches, studio, visit } from "./harness.js";

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
let axe = "";
before(() => (axe = AXE()));

async function prepared(t) {
  const place = folder(t);
  const file = path.join(place, "model.safetensors");
  fs.copyFileSync(FIXTURE, file);
  const where = await studio(t);
  const made = [];
  for (const recipe of [{ method: "principal" }, { scheme: "int8-row", method: "principal" }]) {
    const { body } = await where.ask("POST", "/api/jobs", { kind: "convert", input: file, recipe, run: {}, starts: true });
    made.push(await reaches(where, body.id, ["done"]));
  }
  const { body: verify } = await where.ask(
    "POST", "/api/jobs", { kind: "verify", input: file, output: made[0].output, recipe: {}, run: {}, starts: true });
  await reaches(where, verify.id, ["done"]);
  const many = model(path.join(place, "many.safetensors"),
    blocks(60, { "attn.qkv.weight": [96, 32], "mlp.0.weight": [64, 32], "norm.weight": [32] }));
  const [first, second] = made;
  const pages = {
    open: address("open", { path: place }), plan: address("plan", { input: many }), queue: "#/queue",
    job: address("job", { id: first.id }), verification: address("job", { id: verify.id }),
    report: address("report", { job: first.id }), compare: address("report", { job: first.id, with: `job:${second.id}` }),
    check: address("check", { input: first.output }),
    statistics: address("statistics", { path: path.join(path.dirname(FIXTURE), "../stats/small.stats.safetensors") }),
  };
  return { where, pages };
}

for (const colorScheme of ["light", "dark"]) {
  test(`pages pass axe and fit, ${colorScheme}`, async (t) => {
    const { where, pages } = await prepared(t);
    for (const width of [1280, 400, 360]) {
      // axe is a script from elsewhere, which the page's policy rightly refuses.
      const page = await open(t, where, { context: { colorScheme, viewport: { width, height: 860 }, bypassCSP: true } });
      await page.evaluate(axe);
      for (const [name, hash] of Object.entries(pages)) {
        await visit(page, hash);
        await page.waitForTimeout(900);
        // A page of an error passes axe, too.
        assert.deepEqual(await page.locator(".notice").allTextContents(), [], `${name} at ${width}`);
        if (PICTURES && width !== 360) await picture(page, `${name}-${colorScheme}-${width}`);
        await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
        await page.waitForTimeout(200);
        const found = await page.evaluate((tags) => window.axe.run(document, { runOnly: tags }), RULES);
        const said = found.violations.map((violation) => `${violation.id}: ${violation.nodes[0].html}`);
        assert.deepEqual(said, [], `${name} at ${width}`);
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `${name} is ${over} pixels too wide at ${width}`);
      }
      await page.context().close();
    }
  });
}

/** The whole page; what is out of sight would not be drawn. */
async function picture(page, name) {
  fs.mkdirSync(PICTURES, { recursive: true });
  const seen = page.viewportSize();
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ ...seen, height });
  await page.waitForTimeout(100);
  await page.screenshot({ path: path.join(PICTURES, `${name}.png`), fullPage: true });
  await page.setViewportSize(seen);
}

test("pictures say in their numbers what they show", async (t) => {
  const { where, pages } = await prepared(t);
  const page = await open(t, where, { hash: pages.report });
  await page.waitForSelector("[data-chart=errors] .dots");
  const { body: report } = await where.ask("GET", `/api/report?job=${new URLSearchParams(pages.report.split("?")[1]).get("job")}`);
  const measured = report.tensors.filter((layer) => layer.weight_error);
  const count = (selector) =>
    page.locator(selector).evaluateAll((all) => all.reduce((sum, one) => sum + Number(one.dataset.count), 0));
  assert.equal(await count("[data-chart=errors] .picture .dots:not(.ghost)"), measured.length);
  assert.equal(await count("[data-chart=errors] .picture .dots.ghost"), measured.length);
  assert.equal(await count("[data-chart=histogram] .bar"), measured.length);
  const worst = measured.sort((a, b) => b.weight_error - a.weight_error)[0];
  assert.match(await page.textContent("[data-chart=errors] figcaption"), new RegExp(worst.name.replaceAll(".", "\\.")));
  await page.locator("[data-chart=errors] summary").click();
  await page.waitForSelector("[data-chart=errors] tbody tr");
  assert.equal(await page.locator("[data-chart=errors] tbody tr").count(), measured.length);
  assert.equal(await page.locator("[data-chart=errors] tbody td").first().textContent(), worst.name);
});

test("a theme that is chosen stays", async (t) => {
  const page = await open(t, await studio(t), { context: { colorScheme: "light" } });
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground();
  await page.selectOption("#theme", "dark");
  assert.notEqual(await ground(), light);
  await page.reload();
  await page.waitForSelector("h1");
  assert.notEqual(await ground(), light);
});

test("pictures are used: a bar filters, a range is drawn, the worst layers are kept", async (t) => {
  const { where, pages } = await prepared(t);
  const page = await open(t, where, { hash: pages.report });
  await page.waitForSelector("[data-chart=errors] .dots");
  const rows = page.locator(".long .block [role=row]:not([hidden])");
  const all = await rows.count();
  const bar = page.locator("[data-chart=histogram] .bar").first();
  const count = Number(await bar.getAttribute("data-count"));
  await bar.click();
  assert.equal(await rows.count(), count);
  await page.locator("[data-chart=histogram]").getByRole("button", { name: "Show all layers" }).click();
  assert.equal(await rows.count(), all);
  const picture = page.locator("[data-chart=errors] .picture");
  await picture.scrollIntoViewIfNeeded();
  const { x, y, width } = await picture.boundingBox();
  const dots = () => page.locator("[data-chart=errors] .picture .dots:not(.ghost)").first().getAttribute("data-count");
  const whole = Number(await dots());
  await page.mouse.move(x + width * 0.3, y + 80);
  await page.mouse.down();
  await page.mouse.move(x + width * 0.6, y + 80, { steps: 4 });
  await page.mouse.up();
  assert.ok(Number(await dots()) < whole);
  await page.locator("[data-chart=errors]").getByRole("button", { name: "Show all layers" }).click();
  assert.equal(Number(await dots()), whole);
  await page.getByRole("button", { name: /^Keep th/ }).click();
  await page.waitForSelector(".summary .to");
  assert.ok((await page.inputValue("[data-field=keep]")).startsWith("^"));
});

test("keys lead to the pages, and are letters while somebody types", async (t) => {
  const page = await open(t, await studio(t));
  for (const [key, name] of [["q", "Queue"], ["p", "Plan"], ["o", "Open"]]) {
    await page.keyboard.press(key);
    await page.waitForFunction((wanted) => document.querySelector("h1").textContent === wanted, name);
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  }
  await page.keyboard.press("/");
  await page.keyboard.type("qpo?");
  assert.equal(await page.inputValue("#path"), "qpo?");
  assert.equal(await page.textContent("h1"), "Open");
  await page.locator("h1").focus();
  await page.keyboard.press("?");
  await page.getByLabel("Use single keys").uncheck();
  await page.keyboard.press("Escape");
  await page.keyboard.press("q");
  assert.equal(await page.textContent("h1"), "Open");
});
