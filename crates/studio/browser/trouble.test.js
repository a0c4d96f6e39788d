// Disks that fill, workers that die: one clear line, nothing lost, a button that goes on.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { address, folder, open, reaches, slowModel, SLOW, studio } from "./harness.js";

/** Mounts a small disk of memory, where that is allowed. */
function disk(t, size) {
  const place = folder(t);
  const made = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", place]);
  if (made.status !== 0) return t.skip("only root mounts disks"), null;
  t.after(() => spawnSync("umount", ["-l", place]));
  return place;
}

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
  const place = disk(t, "9m");
  if (!place) return;
  const job = await started(t, slowModel(path.join(folder(t), "slow.safetensors")), path.join(place, "out.safetensors"));
  spawnSync("sh", ["-c", `cat /dev/zero > ${place}/filler`]);
  await job.page.waitForSelector(".badge.failed", { timeout: 120_000 });
  assert.match(await job.page.textContent(".notice"), /No space left on device.*tensors are finished.*Continue goes on/s);
  fs.rmSync(path.join(place, "filler"));
  await goesOn(job);
});

test("a worker that is killed is told, and its job goes on", { skip: !fs.existsSync("/proc/self/task") }, async (t) => {
  const place = folder(t);
  const job = await started(t, slowModel(path.join(place, "slow.safetensors")), path.join(place, "out.safetensors"));
  const threads = `/proc/${job.where.pid}/task`;
  const children = fs.readdirSync(threads).map((thread) => fs.readFileSync(`${threads}/${thread}/children`, "utf8"));
  process.kill(Number(children.join("").trim().split(" ")[0]), "SIGKILL");
  await job.page.waitForSelector(".badge.failed");
  assert.match(await job.page.textContent(".notice"), /said nothing.*Memory may have run out.*Continue goes on/s);
  await goesOn(job);
});
