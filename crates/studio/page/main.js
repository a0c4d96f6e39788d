// The frame around pages: key, addresses, theme, keyboard, title, what is said to screen readers.

import { get, unlock } from "./api.js";
import { element, fill } from "./element.js";
import { about, fileName, share } from "./format.js";
import * as jobs from "./jobs.js";
import { read, visit } from "./route.js";
import { ask, notice } from "./widgets.js";
import { checkPage } from "./pages/check.js";
import { jobPage } from "./pages/job.js";
import { openPage } from "./pages/open.js";
import { planPage } from "./pages/plan.js";
import { queuePage } from "./pages/queue.js";
import { reportPage } from "./pages/report.js";
import { statisticsPage } from "./pages/statistics.js";

const PAGES = {
  open: openPage, plan: planPage, queue: queuePage, job: jobPage, report: reportPage, check: checkPage, statistics: statisticsPage
};
/** Pages that a key opens. */
const KEYS = { o: "open", p: "plan", q: "queue" };

const main = document.getElementById("main");
const status = document.getElementById("status");
let current = null;
let vocabulary = null;

async function begin() {
  followTheme();
  followKeys();
  // An address with a key, pasted into this tab, is the same page to a browser.
  addEventListener("hashchange", () => /^#(key|once)=/.test(location.hash) && location.reload());
  try {
    const greeting = await unlock();
    vocabulary = await get("/api/vocabulary");
    const start = greeting && (greeting.start ?? vocabulary.start);
    if (start) visit("open", { path: start, go: "1" });
  } catch (error) {
    return fill(main, locked(error));
  }
  addEventListener("hashchange", ({ oldURL }) => (rememberPlan(new URL(oldURL).hash), show()));
  show();
  jobs.subscribe(tellOfJobs);
  await jobs.start(tellOfServer).catch((error) => tellOfServer(false, error));
}

function locked(error) {
  if (error.status !== 401) return notice(error);
  return [
    element("h1", { tabindex: "-1" }, "This page needs its key"),
    element("p", "The terminal that runs ", element("code", "roundwise studio"),
      " shows an address that ends in #key=…; open that one. Every start makes a new key, so that no other page or user of this machine can use the studio.")
  ];
}

function show() {
  const { page, query } = read(location.hash);
  current?.leave?.();
  const heading = element("h1", { tabindex: "-1" });
  const rename = (title) => {
    fill(heading, title);
    if (heading.isConnected) writeTitle();
  };
  const made = (PAGES[page] ?? PAGES.open)(query, { vocabulary, say, rename });
  current = made;
  rename(made.title);
  fill(main, element("div.heading", heading, made.beside), made.node);
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = read(link.hash).page === (page === "job" ? "queue" : page);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (show.isLater) heading.focus({ preventScroll: true });
  scrollTo(0, 0);
  show.isLater = true;
  writeTitle();
}

/** The way back to the plan that was left. */
function rememberPlan(hash) {
  const { page, query } = read(hash);
  if (page === "plan" && query.input) document.querySelector("nav a[href^='#/plan']").href = hash;
}

/** Says something to people who do not look. */
function say(text) {
  fill(status, text);
}

let told = { phase: null, tenth: 0 };

function tellOfJobs(event) {
  writeTitle();
  const job = jobs.running();
  if (event?.event === "state" && event.state !== "running") say(`${nameOf(event.job)}: ${event.state}`);
  if (!job) return;
  const done = jobs.progressOf(job);
  const tenth = done === null ? 0 : Math.floor(done * 10);
  const phase = `${job.id} ${job.phase?.name}`;
  if (phase !== told.phase && job.phase) say(`${fileName(job.input)}: ${job.phase.name}`);
  else if (tenth > told.tenth) say(`${fileName(job.input)}: ${job.phase.name} ${tenth * 10} %`);
  told = { phase, tenth };
}

function nameOf(id) {
  const job = jobs.queue().jobs.find((candidate) => candidate.id === id);
  return job ? fileName(job.input) : "Job";
}

/** The title counts, also where the tab is not seen: it is written as events come, not as pictures are drawn. */
function writeTitle() {
  const job = jobs.running();
  const working = document.getElementById("working");
  working.hidden = !job;
  const done = job && jobs.progressOf(job);
  const left = job?.progress?.seconds_left;
  const parts = job && [
    done === null ? (job.phase?.name ?? "starting")
                  : `${job.phase.name === "converting" ? "" : `${job.phase.name} `}${share(done, 1)}`,
    Number.isFinite(left) ? `${about(left)} left` : null
  ].filter(Boolean);
  if (job) fill(working, parts.join(" · "));
  const page = main.querySelector("h1")?.textContent ?? "studio";
  document.title = [parts?.join(" · "), page, "roundwise"].filter(Boolean).join(" – ");
}

function tellOfServer(isThere, error) {
  const away = document.getElementById("away");
  // Said once, not at every attempt.
  const isTold = away.dataset.status === String(error?.status);
  away.dataset.status = String(error?.status);
  if (isThere) fill(away);
  else if (!isTold)
    fill(away, error?.status === 401 ? locked(error) : notice(error ?? { message: "roundwise studio does not answer" }));
}

function followTheme() {
  const choice = document.getElementById("theme");
  choice.value = localStorage.getItem("roundwise.theme") ?? "auto";
  const use = () => (document.documentElement.dataset.theme = choice.value);
  choice.addEventListener("change", () => (localStorage.setItem("roundwise.theme", choice.value), use()));
  use();
}

function followKeys() {
  document.getElementById("help").addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    // In a field they are text.
    if (event.target.closest?.("input, select, textarea, dialog, [contenteditable]")) return;
    if (localStorage.getItem("roundwise.keys") === "off") return;
    if (event.key === "/") document.querySelector("main .filter, main input[type=text]")?.focus();
    else if (event.key === "?") help();
    else if (event.key in KEYS) location.hash = document.querySelector(`nav a[href^='#/${KEYS[event.key]}']`).hash;
    else return;
    event.preventDefault();
  });
}

function help() {
  const keys = [
    ["/", "the filter, or the first field"], ["o", "Open"], ["p", "Plan"], ["q", "Queue"], ["?", "this list"],
    ["↑ ↓", "in lists: from row to row; Enter opens"], ["← →", "in pictures: from dot to dot; Enter opens"]
  ];
  const list = element("dl.keys", keys.map(([key, what]) => [element("dt", element("kbd", key)), element("dd", what)]));
  const single = element("input", {
    type: "checkbox", id: "single-keys", checked: localStorage.getItem("roundwise.keys") !== "off",
    onchange: () => localStorage.setItem("roundwise.keys", single.checked ? "on" : "off")
  });
  const version = `roundwise ${vocabulary?.version ?? ""}`;
  const promise = `${version}. Nothing leaves this machine. Every job is a command of roundwise, which its page shows.`;
  const choice = element("p", single, " ", element("label", { for: "single-keys" }, "Use single keys"));
  ask("Keyboard and help", [list, choice, element("p.quiet", promise)], [["close", "Close"]]);
}

begin();
