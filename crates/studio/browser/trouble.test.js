// Disks that fill, go away or take no files, workers that die: one clear line, nothing lost, a button that goes on.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";

import { address, FIXTURE, folder, open, plan, reaches, slowModel, SLOW, studio } from "./harness.js";

/** Mounts a small disk of memory, where that is allowed. */
function disk(t, size) {
  return mounted(t, ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs"]);
}

/** Mounts something at a folder of its own; only root may. */
function mounted(t, words) {
  const place = fs.mkdtempSync(path.join(os.tmpdir(), "roundwise-disk-"));
  // Not with all that is in it: were it still mounted, that would be somebody else's.
  t.after(() => (spawnSync("umount", ["-l", place]), fs.rmdirSync(place)));
  if (spawnSync("mount", [...words, place]).status !== 0) return t.skip("only root mounts disks"), null;
  return place;
}

/** Layers of a model that is stopped, and then goes on to its end. */
const FEW = 12;

async function started(t, input, output) {
  const where = await studio(t);
  const order = { kind: "convert", input, output, recipe: SLOW, run: {}, starts: true };
  const { body: job } = await where.ask("POST", "/api/jobs", order);
  const page = await open(t, where, { hash: address("job", { id: job.id }) });
  await page.waitForSelector("[data-chart=errors] .dots", { timeout: 120_000 });
  return { where, page, id: job.id };
}

async function goesOn({ where, page, id }) {
  await page.getByRole("button", { name: "Continue", exact: true }).click();
  await reaches(where, id, ["done"], { limit: 300_000 });
  const { body: report } = await where.ask("GET", `/api/report?job=${id}`);
  assert.ok(report.recalled_tensors > 0, "nothing was lost");
}

test("a disk that fills while a job runs is told, and the job goes on when there is room", async (t) => {
  const place = disk(t, "4m");
  if (!place) return;
  const job = await started(t, slowModel(path.join(folder(t), "slow.safetensors"), FEW), path.join(place, "out.safetensors"));
  spawnSync("sh", ["-c", `cat /dev/zero > ${place}/filler`]);
  await job.page.waitForSelector(".badge.failed", { timeout: 120_000 });
  assert.match(await job.page.textContent(".notice"), /No space left on device.*tensors are finished.*Continue goes on/s);
  fs.rmSync(path.join(place, "filler"));
  await goesOn(job);
});

test("a worker that is killed is told, and its job goes on", { skip: !fs.existsSync("/proc/self/task") }, async (t) => {
  const place = folder(t);
  const job = await started(t, slowModel(path.join(place, "slow.safetensors"), FEW), path.join(place, "out.safetensors"));
  const threads = `/proc/${job.where.pid}/task`;
  const children = fs.readdirSync(threads).map((thread) => fs.readFileSync(`${threads}/${thread}/children`, "utf8"));
  process.kill(Number(children.join("").trim().split(" ")[0]), "SIGKILL");
  await job.page.waitForSelector(".badge.failed");
  assert.match(await job.page.textContent(".notice"), /said nothing.*Memory may have run out.*Continue goes on/s);
  await goesOn(job);
});

test("a model whose drive goes away is told, and all goes on when the drive is back", async (t) => {
  const kept = folder(t);
  fs.copyFileSync(FIXTURE, path.join(kept, "model.safetensors"));
  const drive = mounted(t, ["--bind", kept]);
  if (!drive) return;
  const input = path.join(drive, "model.safetensors");
  const output = path.join(folder(t), "out.safetensors");
  const where = await studio(t);
  const page = await open(t, where);
  await plan(page, { input, output });
  await where.ask("POST", "/api/queue", { runs: false });
  const { body: job } = await where.ask("POST", "/api/jobs", { kind: "convert", input, output, recipe: {}, run: {} });
  spawnSync("umount", ["-l", drive]);
  await page.selectOption("[data-field=scheme]", "int8-row");
  await page.waitForSelector(".notice");
  assert.match(await page.textContent(".notice"), /model\.safetensors: there is no such file/);
  const { body: list } = await where.ask("GET", "/api/jobs");
  assert.deepEqual(list.jobs.map(({ state }) => state), ["waiting"]);
  const other = await open(t, where, { hash: address("job", { id: job.id }), from: page.context().browser() });
  await other.getByRole("button", { name: "Continue queue" }).click();
  await other.waitForSelector(".badge.failed");
  assert.match(await other.textContent(".notice"), /model\.safetensors: .*(no such file|No such file)/);
  spawnSync("mount", ["--bind", kept, drive]);
  await other.getByRole("button", { name: "Continue", exact: true }).click();
  await other.waitForSelector(".job-page .done-as strong");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.waitForFunction(() => document.querySelector(".consumer strong")?.textContent === "int8-row");
  assert.equal(await page.locator(".notice").count(), 0);
});

test("a folder that takes no files is told at the output, and another one is chosen", async (t) => {
  const kept = folder(t);
  fs.copyFileSync(FIXTURE, path.join(kept, "model.safetensors"));
  const drive = mounted(t, ["--bind", "-o", "ro", kept]);
  if (!drive) return;
  const where = await studio(t);
  const page = await open(t, where);
  await plan(page, { input: path.join(drive, "model.safetensors") });
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForSelector("[data-field=output][aria-invalid=true]");
  assert.match(await page.textContent(".settings"), /cannot be written|Read-only file system/);
  const { body: list } = await where.ask("GET", "/api/jobs");
  assert.deepEqual(list.jobs, []);
  const output = path.join(folder(t), "out.safetensors");
  await page.fill("[data-field=output]", output);
  await page.keyboard.press("Enter");
  await page.waitForSelector("[data-field=output]:not([aria-invalid])");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForSelector(".job-page .done-as strong");
  assert.ok(fs.existsSync(output));
});

test("a full disk of the studio's own refuses new jobs, and lets the one at work end", async (t) => {
  const state = disk(t, "1m");
  if (!state) return;
  const where = await studio(t, { state });
  const place = folder(t);
  const input = slowModel(path.join(place, "slow.safetensors"), FEW);
  const order = { kind: "convert", input, recipe: SLOW, run: {}, starts: true };
  const { body: job } = await where.ask("POST", "/api/jobs", { ...order, output: path.join(place, "1.safetensors") });
  spawnSync("sh", ["-c", `cat /dev/zero > ${state}/filler`]);
  const page = await open(t, where);
  await plan(page, { input, output: path.join(place, "2.safetensors") });
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForSelector(".notice");
  assert.match(await page.textContent(".notice"), /cannot be remembered.*Make room/s);
  const done = await reaches(where, job.id, ["done", "failed"], { limit: 300_000 });
  assert.equal(done.state, "done", JSON.stringify(done.failure));
  assert.ok(fs.existsSync(path.join(place, "1.safetensors")));
});
