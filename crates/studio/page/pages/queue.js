// What is at work, what waits, what is over.

import { element, fill } from "../element.js";
import { about, bytes, counted, fileName, percent, share, took } from "../format.js";
import { act, progressOf, queue, refresh, setRunning, subscribe } from "../jobs.js";
import { address } from "../route.js";
import { attempt, button, keepingFocus } from "../widgets.js";

/** States with a sign beside their word. */
export const SIGNS = { waiting: "◌", running: "▶", stopping: "■", done: "✓", failed: "✗", stopped: "■", interrupted: "!" };

/** Events that change more than how far a job is. */
const NEWS = new Set(["queue", "state", "added", "removed", "done", "failed"]);
const ACTIVE = new Set(["waiting", "running", "stopping"]);

/** Queue. */
export function queuePage() {
  const said = element("div");
  const beside = element("div.actions");
  const place = element("div");
  const node = element("div", said, place);
  const shows = new Map();
  // Buttons that are built anew while they are pressed are not clicked.
  const leave = subscribe((event) => (event && !NEWS.has(event.event) ? shows.get(event.job)?.() : show()));

  const tried = (work) => attempt(said, work);
  function show() {
    keepingFocus(place, build);
    keepingFocus(beside, () => fill(beside, controls()));
  }
  function controls() {
    const { runs, jobs } = queue();
    const isWaiting = jobs.some((job) => job.state === "waiting");
    const isRunning = jobs.some((job) => job.state === "running" || job.state === "stopping");
    if (runs) return isRunning && isWaiting ? button("Stop after this one", () => tried(() => setRunning(false))) : null;
    return isWaiting ? button("Continue queue", () => tried(() => setRunning(true)), { class: "main" }) : null;
  }
  function build() {
    shows.clear();
    const { runs, jobs } = queue();
    const active = jobs.filter((job) => ACTIVE.has(job.state));
    const over = jobs.filter((job) => !ACTIVE.has(job.state)).sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0));
    fill(
      place,
      jobs.length === 0 &&
        element("p.quiet", "No jobs yet. ", element("a", { href: address("open") }, "Open a model"), " to begin."),
      active.length > 0 &&
        element(
          "p", totals(active), !runs && active.some((job) => job.state === "waiting") && element("strong", " The queue waits.")),
      active.length > 0 && element("ol.jobs", active.map((job, index) => row(job, active, index))),
      over.length > 0 && [element("h2", "Over"), element("ul.jobs", over.map((job) => row(job, over, -1)))],
    );
  }
  function row(job, jobs, index) {
    const line = element("div.job-progress");
    const draw = () => fill(line, progress(job));
    draw();
    if (job.state === "running")
      shows.set(job.id, () => fill(line, progress(queue().jobs.find((now) => now.id === job.id) ?? job)));
    const item = element("li", { class: `job ${job.state}`, "data-kind": job.id }, badge(job.state),
      element("div.what", element("a", { href: address("job", { id: job.id }) }, titleOf(job)), line),
      element("div.actions", actions(job, jobs, index)));
    if (job.state === "waiting") makeDraggable(item, job, tried);
    return item;
  }
  function actions(job, jobs, index) {
    const name = titleOf(job);
    const small = (label, work, more = {}) =>
      button(label, () => tried(work), { class: "small", "aria-label": `${label}: ${name}`, ...more });
    const waiting = jobs.filter((other) => other.state === "waiting");
    const at = waiting.indexOf(job);
    if (job.state === "waiting")
      return [
        at > 0 && small("↑", () => act(job.id, "move", { before: waiting[at - 1].id }), { "aria-label": `Earlier: ${name}` }),
        at < waiting.length - 1 &&
          small("↓", () => act(job.id, "move", { before: waiting[at + 2]?.id ?? null }), { "aria-label": `Later: ${name}` }),
        small("Remove", () => act(job.id, "remove")),
      ];
    if (job.state === "running") return small("Stop", () => act(job.id, "stop"));
    if (job.state === "stopping") return null;
    return [job.can_continue && small("Continue", () => act(job.id, "continue")), small("Remove", () => act(job.id, "remove"))];
  }
  show();
  void tried(refresh);
  return { title: "Queue", beside, node, leave };
}

/** A job in a few words. */
export function titleOf(job) {
  const name = fileName(job.input);
  if (job.kind === "verify") return `verify ${fileName(job.output ?? "")} against ${name}`;
  if (job.kind === "budget") return `choose schemes for ${name}`;
  if (job.kind === "try") return `try ${job.scheme ?? ""} ${job.method ?? ""} on ${name}`;
  const to = job.output ? fileName(job.output) : (job.scheme ?? "");
  const how = job.kind === "convert" ? [job.scheme, job.method].filter(Boolean).join(", ") : job.kind;
  return `${name} → ${to}${how ? ` (${how})` : ""}`;
}

/** The state of a job: a word, a sign and a colour. */
export function badge(state) {
  return element("span", { class: `badge ${state}` }, element("span", { "aria-hidden": "true" }, `${SIGNS[state] ?? "?"} `), state);
}

/** The bar of a running job with what it says in words; or what came of it. */
export function progress(job) {
  if (job.state === "done")
    return element("span.quiet", [
      job.output_bytes && bytes(job.output_bytes), Number.isFinite(job.weight_error) && `error ${percent(job.weight_error)}`,
      job.started && job.ended && took(job.started, job.ended)
    ].filter(Boolean).join(" · "));
  if (job.failure) return element("span.bad", job.failure.message.split("\n")[0]);
  if (job.state === "waiting") return element("span.quiet", Number.isFinite(job.estimated_seconds) ? `about ${about(job.estimated_seconds)}` : "");
  if (job.state !== "running" && job.state !== "stopping") return null;
  const done = progressOf(job);
  const words =
    [
      job.phase?.name ?? "starting", done !== null && share(done, 1),
      Number.isFinite(job.progress?.seconds_left) && `${about(job.progress.seconds_left)} left`,
      job.progress?.bytes_per_second > 0 && `${bytes(Math.round(job.progress.bytes_per_second))}/s`
    ].filter(Boolean)
      .join(" · ");
  const bar = element("progress", { max: "1", "aria-label": "Progress" });
  if (done !== null) bar.value = done;
  return [bar, element("span", words)];
}

function totals(active) {
  const times = active.map((job) => (job.state === "waiting" ? job.estimated_seconds : job.progress?.seconds_left));
  const known = times.filter(Number.isFinite);
  const sum = known.reduce((total, time) => total + time, 0);
  const unknown = times.length - known.length;
  const time = known.length === 0
    ? "time unknown"
    : `${about(sum)} left${unknown ? `, without ${counted(unknown, "job")} of unknown time` : ""}`;
  return `${counted(active.length, "job")} · ${time}.`;
}

function makeDraggable(item, job, tried) {
  item.draggable = true;
  item.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/x-job", job.id));
  item.addEventListener("dragover", (event) => event.dataTransfer.types.includes("text/x-job") && event.preventDefault());
  item.addEventListener("drop", (event) => {
    const moved = event.dataTransfer.getData("text/x-job");
    if (!moved || moved === job.id) return;
    event.preventDefault();
    void tried(() => act(moved, "move", { before: job.id }));
  });
}
