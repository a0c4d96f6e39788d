// Nothing is lost: tabs are closed, servers are killed, jobs are stopped.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { address, folder, open, reaches, slowModel, SLOW, studio } from "./harness.js";

async function startSlow(t, where, layers) {
  const file = slowModel(path.join(folder(t), "slow.safetensors"), layers);
  const { body } = await where.ask("POST", "/api/jobs", { kind: "convert", input: file, recipe: SLOW, run: {}, starts: true });
  return body;
}

async function finished(where, id, count) {
  for (;;) {
    const { body } = await where.ask("GET", `/api/jobs/${id}`);
    if (body.finished_tensors >= count) return body;
    if (["failed", "done"].includes(body.state)) throw new Error(`${body.state} after ${body.finished_tensors} tensors`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("reloading or closing every tab loses nothing", async (t) => {
  const where = await studio(t);
  const job = await startSlow(t, where);
  let page = await open(t, where, { hash: address("job", { id: job.id }) });
  await page.waitForSelector("[data-chart=errors] .dots");
  await page.reload();
  await page.waitForSelector("[data-chart=errors] .dots");
  await page.context().close();
  const before = await finished(where, job.id, 4);
  page = await open(t, where, { hash: address("job", { id: job.id }) });
  await page.waitForSelector("[data-chart=errors] .dots");
  const dots = Number(await page.getAttribute("[data-chart=errors] .picture .dots:not(.ghost)", "data-count"));
  assert.ok(dots >= before.finished_tensors, `${dots} dots for ${before.finished_tensors} tensors`);
  assert.equal(await page.locator(".badge").first().textContent(), "▶ running");
});

test("killed and restarted, a job goes on to the same bytes", async (t) => {
  const where = await studio(t);
  const job = await startSlow(t, where, 12);
  await finished(where, job.id, 3);
  await where.kill();
  const again = await studio(t, { state: where.state });
  const page = await open(t, again, { hash: "#/queue" });
  await page.waitForSelector(".badge.interrupted");
  await page.getByRole("button", { name: /^Continue:/ }).click();
  const done = await reaches(again, job.id, ["done", "failed"]);
  assert.equal(done.state, "done", JSON.stringify(done.failure));
  const report = await again.ask("GET", `/api/report?job=${job.id}`);
  assert.ok(report.body.recalled_tensors >= 3, `${report.body.recalled_tensors} were resumed`);
  const whole = path.join(path.dirname(done.output), "whole.safetensors");
  const { body: second } =
    await again.ask("POST", "/api/jobs", { kind: "convert", input: job.input, output: whole, recipe: SLOW, run: {}, starts: true });
  await reaches(again, second.id, ["done"]);
  assert.ok(fs.readFileSync(done.output).equals(fs.readFileSync(whole)));
});

test("stop answers within a second, and what is finished stays", async (t) => {
  const where = await studio(t);
  const job = await startSlow(t, where);
  const page = await open(t, where, { hash: address("job", { id: job.id }) });
  await finished(where, job.id, 2);
  const began = Date.now();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.waitForSelector(".badge.stopping, .badge.stopped");
  const answered = Date.now() - began;
  assert.ok(answered < 1000, `${answered} ms`);
  await page.waitForSelector(".badge.stopped");
  await page.getByRole("button", { name: "Continue", exact: true }).click();
  await page.waitForSelector(".badge.running");
  await where.ask("POST", `/api/jobs/${job.id}/stop`, {});
  await reaches(where, job.id, ["stopped"]);
});

test("a job that does not heed can be killed after ten seconds, and goes on", { skip: !fs.existsSync("/proc/self/task") }, async (t) => {
  const where = await studio(t);
  const job = await startSlow(t, where);
  const page = await open(t, where, { hash: address("job", { id: job.id }) });
  await finished(where, job.id, 2);
  const threads = `/proc/${where.pid}/task`;
  const children = fs.readdirSync(threads).map((thread) => fs.readFileSync(`${threads}/${thread}/children`, "utf8"));
  const [worker] = children.join("").split(" ").filter(Boolean).map(Number);
  process.kill(worker, "SIGSTOP");
  const began = Date.now();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText("Stopping…").waitFor();
  await page.getByRole("button", { name: "Kill", exact: true }).click();
  const waited = Date.now() - began;
  assert.ok(waited > 9_500, `${waited} ms`);
  const { finished_tensors: done } = await reaches(where, job.id, ["stopped"]);
  assert.ok(done >= 2);
  await page.getByRole("button", { name: "Continue", exact: true }).click();
  await page.waitForSelector(".badge.running");
  await where.ask("POST", `/api/jobs/${job.id}/stop`, {});
  await reaches(where, job.id, ["stopped"]);
});

test("the queue keeps its order, and waits after a restart", async (t) => {
  const where = await studio(t);
  const job = await startSlow(t, where);
  for (const scheme of ["int8-row", "nvfp4"])
    await where.ask("POST", "/api/jobs", { kind: "convert", input: job.input, recipe: { scheme }, run: {}, starts: false });
  const page = await open(t, where, { hash: "#/queue" });
  await page.getByRole("button", { name: /^Earlier: .*nvfp4/ }).click();
  await page.waitForFunction(() => /nvfp4/.test(document.querySelectorAll("ol.jobs li")[1]?.textContent));
  await where.interrupt();
  const again = await studio(t, { state: where.state });
  const later = await open(t, again, { hash: "#/queue" });
  await later.waitForSelector("ol.jobs");
  assert.match(await later.textContent("main"), /The queue waits/);
  assert.match(await later.locator("ol.jobs li").first().textContent(), /nvfp4/);
  await later.getByRole("button", { name: "Continue queue" }).click();
  await later.waitForFunction(() => document.querySelectorAll(".badge.done").length === 2, null, { timeout: 60_000 });
});

test("a tab says that the studio is away, and what it needs when it is back", async (t) => {
  const where = await studio(t);
  const page = await open(t, where, { mayComplain: true });
  await where.kill();
  await page.waitForSelector("#away .notice");
  assert.match(await page.textContent("#away"), /does not answer/);
  // Every start makes a new key.
  await studio(t, { state: where.state, port: where.port });
  await page.waitForFunction(() => /needs its key/.test(document.getElementById("away").textContent));
});

test("settings of a job can be used again", async (t) => {
  const where = await studio(t);
  const job = await startSlow(t, where);
  const page = await open(t, where, { hash: address("job", { id: job.id }) });
  await finished(where, job.id, 2);
  await where.ask("POST", `/api/jobs/${job.id}/stop`, {});
  await page.waitForSelector(".badge.stopped");
  await page.getByRole("link", { name: "Use these settings" }).click();
  await page.waitForSelector(".summary .to");
  assert.equal(await page.inputValue("[data-field=method]"), SLOW.method);
  assert.equal(await page.inputValue("[data-field='method_options.iterations']"), String(SLOW.method_options.iterations));
  assert.match(await page.textContent(".summary"), /Goes on where it was stopped/);
});

test("six tabs of one browser all tell how a job goes", async (t) => {
  const where = await studio(t);
  const job = await startSlow(t, where);
  const first = await open(t, where, { hash: address("job", { id: job.id }) });
  const tabs = [first];
  for (let count = 1; count < 6; count += 1) {
    const tab = await first.context().newPage();
    await tab.goto(`${where.origin}/${address("job", { id: job.id })}`);
    tabs.push(tab);
  }
  for (const tab of tabs) await tab.waitForSelector(".badge.running");
  await where.ask("POST", `/api/jobs/${job.id}/stop`, {});
  // Those whose stream was taken by newer ones ask every now and then.
  for (const tab of tabs) await tab.waitForSelector(".badge.stopped", { timeout: 20_000 });
});
