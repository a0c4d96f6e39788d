// How fast the page is: `node measure.js ADDRESS MODEL`, ADDRESS with its key, MODEL a file of some 5,000 tensors.
// Prints one JSON object, milliseconds; each is the median of several turns, but the worst frame.

import { address, launch } from "./harness.js";

const TURNS = 5;
const SETTLING_MS = 1000;
const [, , where, model] = process.argv;
const opened = await launch();

function median(numbers) {
  return Math.round([...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]);
}

async function fresh() {
  const page = await (await opened.newContext({ viewport: { width: 1280, height: 860 } })).newPage();
  await page.goto(where);
  await page.waitForSelector("h1");
  return page;
}

async function firstPaint() {
  const page = await fresh();
  const [paint] = await page.evaluate(() => performance.getEntriesByType("paint").map((entry) => entry.startTime));
  await page.context().close();
  return paint;
}

/** From the click to the table of kinds. */
async function planShown() {
  const page = await fresh();
  // Nobody clicks while a browser still starts, which takes the processors from the server.
  await page.waitForTimeout(SETTLING_MS);
  const taken = await page.evaluate(async (hash) => {
    const began = performance.now();
    location.hash = hash;
    while (!document.querySelector("table.kinds tbody tr")) await new Promise(requestAnimationFrame);
    return performance.now() - began;
  }, address("plan", { input: model }));
  await page.context().close();
  return taken;
}

async function openList() {
  const page = await fresh();
  await page.evaluate((hash) => (location.hash = hash), address("plan", { input: model }));
  await page.waitForSelector("table.kinds tbody tr");
  await page.waitForTimeout(2000);
  await page.getByLabel("all tensors").check();
  await page.waitForSelector(".long .block");
  await page.waitForTimeout(1000);
  return page;
}

/** From a key to the rows that match, laid out. */
function filter(page) {
  return page.evaluate(async () => {
    const input = document.querySelector(".kinds .filter");
    const taken = [];
    for (const text of ["1", "12", "weight", "weight 7", "none at all", ""]) {
      const began = performance.now();
      input.value = text;
      input.dispatchEvent(new Event("input"));
      void document.body.offsetHeight;
      taken.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    return Math.max(...taken);
  });
}

/** Times between frames while the list is scrolled by four rows a frame. */
function scroll(page) {
  return page.evaluate(async () => {
    const list = document.querySelector(".long");
    list.scrollIntoView();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const frames = [];
    let last = await new Promise(requestAnimationFrame);
    for (let turn = 0; turn < 400; turn += 1) {
      list.scrollTop += 112;
      const now = await new Promise(requestAnimationFrame);
      frames.push(now - last);
      last = now;
    }
    return frames.sort((a, b) => a - b);
  });
}

async function times(work) {
  const taken = [];
  for (let turn = 0; turn < TURNS; turn += 1) taken.push(await work());
  return taken;
}

const first_paint_ms = median(await times(firstPaint));
const plan_shown_ms = median(await times(planShown));
const list = await openList();
const filter_ms = median(await times(() => filter(list)));
const frames = await scroll(list);
const frames_95_ms = Math.round(frames[Math.floor(frames.length * 0.95)]);
const frame_worst_ms = Math.round(frames.at(-1));
console.log(JSON.stringify({ first_paint_ms, plan_shown_ms, filter_ms, frames_95_ms, frame_worst_ms }));
await opened.close();
