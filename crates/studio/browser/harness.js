// A studio of its own for each test, a browser, and files to work on.

import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

// `require` looks into NODE_PATH, which imports do not.
const { chromium } = createRequire(import.meta.url)("playwright-core");

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** The program that is tested. */
export const ROUNDWISE = path.resolve(process.env.ROUNDWISE ?? path.join(ROOT, "target/release/roundwise"));
/** A layer of a real model. */
export const FIXTURE = path.join(ROOT, "fixtures/tensors/minilm-layer0.safetensors");
export const AXE = () => fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Where pictures of pages go; none are made without it. */
export const PICTURES = process.env.PICTURES;

/** Makes a folder that is removed after the test. */
export function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "roundwise-studio-"));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Starts a studio. `state`: its folder, to start it again in; ends with the test. */
export async function studio(t, { state = folder(t), start, port = "0" } = {}) {
  const words = ["studio", "--no-open", "--port", port, "--state", state, ...(start ? [start] : [])];
  const child = spawn(ROUNDWISE, words, { stdio: ["ignore", "pipe", "pipe"] });
  let [said, complained] = ["", ""];
  child.stderr.on("data", (data) => (complained += data));
  const address = await new Promise((resolve, reject) => {
    child.stdout.on("data", (data) => {
      said += data;
      const found = /http:\/\/\S+#key=\S+/.exec(said);
      if (found) resolve(found[0]);
    });
    child.on("exit", (code) => reject(new Error(`the studio ended with ${code}: ${said}${complained}`)));
  });
  const ended = once(child, "exit");
  const end = async (signal) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await ended;
  };
  t.after(() => end("SIGKILL"));
  const url = new URL(address);
  const key = new URLSearchParams(url.hash.slice(1)).get("key");
  const ask = async (method, route, body) => {
    const headers = { Authorization: `Bearer ${key}`, ...(body ? { "Content-Type": "application/json" } : {}) };
    const answer = await fetch(`${url.origin}${route}`, { method, headers, body: body && JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  };
  return { address, origin: url.origin, port: url.port, pid: child.pid, state, ask, kill: () => end("SIGKILL"), interrupt: () => end("SIGINT") };
}

/** Starts the browser of the system. */
export function launch(args = []) {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", ...args] });
}

/** Opens a browser that ends with the test. */
export async function browser(t, { args = [] } = {}) {
  const made = await launch(args);
  t.after(() => made.close());
  return made;
}

/** Opens the page on an address of the studio; complaints of its console fail the test. `hash`: a page of it. */
export async function open(t, where, { hash, context = {}, from, init, mayComplain = false } = {}) {
  const opened = from ?? (await browser(t));
  const page = await (await opened.newContext({ viewport: { width: 1280, height: 860 }, ...context })).newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(error.message));
  // Refusals are answered with 4xx, which browsers write into their console.
  page.on("console",
    (line) => line.type() === "error" && !/Failed to load resource/.test(line.text()) && page.complaints.push(line.text()));
  if (!mayComplain)
    t.after(() => {
      if (page.complaints.length) throw new Error(`the page complained: ${page.complaints.join("\n")}`);
    });
  if (init) await page.addInitScript(init);
  await page.goto(where.address);
  await page.waitForSelector("h1");
  if (hash) await visit(page, hash);
  return page;
}

/** Goes to a page of the studio. */
export async function visit(page, hash) {
  await page.evaluate((to) => (location.hash = to), hash);
}

/** The address of a page, with its query. */
export function address(page, query) {
  return `#/${page}?${new URLSearchParams(query)}`;
}

/** Opens the plan of a file, and waits until it is there. */
export async function plan(page, query) {
  await visit(page, address("plan", query));
  await page.waitForSelector(".summary .to");
}

/** Moves the focus with Tab until a control has it whose name is, or begins with, a text. */
export async function tabTo(page, name) {
  for (let step = 0; step < 300; step += 1) {
    await page.keyboard.press("Tab");
    const found = await page.evaluate((wanted) => {
      const { activeElement: control } = document;
      const label = control.getAttribute("aria-label") ?? control.labels?.[0]?.textContent ?? control.textContent;
      return label.trim().startsWith(wanted);
    }, name);
    if (found) return;
  }
  throw new Error(`Tab does not reach \`${name}\``);
}

/** Waits until a job has come to a state. */
export async function reaches(where, id, states, { limit = 120_000 } = {}) {
  for (const until = Date.now() + limit; ; ) {
    const { body } = await where.ask("GET", `/api/jobs/${id}`);
    if (states.includes(body.state)) return body;
    if (Date.now() > until)
      throw new Error(`job ${id} is ${body.state}, not ${states.join(" or ")}: ${JSON.stringify(body.failure)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Writes a model of F32 matrices; `tensors` maps names to shapes. */
export function model(file, tensors, { isSparse = false } = {}) {
  const header = {};
  let offset = 0;
  for (const [name, shape] of Object.entries(tensors)) {
    const bytes = 4 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (Buffer.byteLength(text) % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  fs.writeFileSync(file, Buffer.concat([length, Buffer.from(text)]));
  if (isSparse) fs.truncateSync(file, 8 + Buffer.byteLength(text) + offset);
  else fs.appendFileSync(file, numbers(offset / 4));
  return file;
}

/** Names and shapes of a model of equal blocks. */
export function blocks(count, layers) {
  const names = Array.from({ length: count }, (_, index) => index).flatMap((index) => Object.entries(layers).map(([name,
    shape]) => [`blocks.${index}.${name}`, shape]));
  return Object.fromEntries(names);
}

/** A model whose search takes long enough to be stopped. `count`: layers of it. */
export function slowModel(file, count = 40) {
  return model(file, blocks(count, { "mlp.weight": [256, 256] }));
}

/** Settings of a search that takes long. */
export const SLOW = { method: "adaround", method_options: { iterations: Number(process.env.ITERATIONS ?? 400) } };

/** Numbers that are spread as weights are, the same each time. */
function numbers(count) {
  const made = new Float32Array(count);
  let state = 1;
  const uniform = () => (state = (state * 48271) % 2147483647) / 2147483647;
  for (let index = 0; index < count; index += 1) made[index] = (uniform() + uniform() + uniform() - 1.5) * 0.05;
  return Buffer.from(made.buffer);
}
