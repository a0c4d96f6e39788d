// One job: how far it is, what it does, what it found.

import { get } from "../api.js";
import { element, fill } from "../element.js";
import { errorChart } from "../charts/errors.js";
import { errorHistogram } from "../charts/histogram.js";
import { bytes, counted, fileName, percent, took, whole } from "../format.js";
import { act, setRunning, queue, subscribe, unwatch, watch, watchedJob } from "../jobs.js";
import { address, visit } from "../route.js";
import { attempt, button, copyButton, keepingFocus, notice } from "../widgets.js";
import { badge, progress, titleOf } from "./queue.js";
import { verificationView } from "./verification.js";

/** Between two drawings of pictures that grow. */
const DRAW_MS = 400;
/** After which a job that does not heed may be killed. */
const PATIENCE_MS = 10_000;
/** Kinds of jobs that make a file. */
const WRITING = new Set(["convert", "dequantize", "migrate", "repair"]);
/** Lines of a log that are shown. */
const LINES = 500;

/** Job. `id`. */
export function jobPage({ id }, { rename }) {
  const said = element("div");
  const head = element("div.actions");
  const now = element("section.now", { "aria-label": "Now" });
  const outcome = element("section.outcome", { "aria-label": "Outcome" });
  const pictures = element("div.pictures");
  const log = element("pre.log", { tabindex: "0", "aria-label": "Log" });
  const logBox = element("details.view", { hidden: true }, element("summary", "Log"), log);
  const command = element("details.view");
  const node = element("div.job-page", said, now, outcome, pictures, logBox, command);
  let [charts, timer, told, answered, stopping] = [null, 0, 0, false, null];
  const unsubscribe = subscribe((event) => (event === null || event.job === id || event.event === "queue") && later());

  const job = () => watchedJob(id);
  const tried = (action) => async () => {
    await attempt(said, () => act(id, action));
    later();
  };
  function later() {
    // Buttons and bars are cheap, pictures are drawn now and then.
    if (!job()) return;
    show();
    timer ||= setTimeout(() => ((timer = 0), draw()), DRAW_MS);
  }
  function show() {
    showActions(job());
    fill(now, nowOf(job()));
    const { log: written } = job();
    logBox.hidden = written.length === 0;
    if (written.length !== told) fill(log, written.slice(-LINES).map((line) => element("span", line)));
    told = written.length;
    void showOutcome(job());
  }
  // A button that is built anew while it is pressed is not clicked.
  function showActions(current) {
    const { runs, jobs } = queue();
    const key = [current.state, current.can_continue, stopping === "over", runs, jobs.some((other) => other.state === "waiting")].join();
    if (key === head.dataset.shown) return;
    head.dataset.shown = key;
    keepingFocus(head, () => fill(head, actions(current)));
  }
  function draw() {
    const layers = [...(job()?.finished.values() ?? [])].filter((layer) => Number.isFinite(layer.weight_error));
    if (layers.length === 0) return;
    if (!charts) {
      charts = [errorChart({ layers, across: "layers in the order in which they were finished" }), errorHistogram({ layers })];
      fill(pictures, charts.map((chart) => chart.node));
      return;
    }
    if (charts.drawn !== layers.length) for (const chart of charts) chart.update(layers);
    charts.drawn = layers.length;
  }
  function actions({ state, can_continue, kind, input, output, recipe, run }) {
    if (state !== "stopping") {
      clearTimeout(stopping);
      stopping = null;
    }
    const writes = WRITING.has(kind);
    const again = kind === "convert" && recipe &&
      element("a.button", { href: address("plan", { input, output, recipe, run }) }, "Use these settings");
    if (state === "running")
      return [
        button("Stop", tried("stop")),
        queue().jobs.some((other) => other.state === "waiting") && queue().runs &&
          button("Stop after this one", () => attempt(said, () => setRunning(false)))
      ];
    if (state === "stopping") return killButton();
    if (state === "waiting")
      return [
        !queue().runs && button("Continue queue", () => attempt(said, () => setRunning(true)), { class: "main" }),
        button("Remove", removed), again
      ];
    return [
      state === "done" && writes &&
        element("a.button.main", { href: address("report", { job: id }) }, "Report"),
      can_continue && button("Continue", tried("continue"), { class: "main" }),
      can_continue && writes && button("Start over", tried("fresh")), again, button("Remove", removed)
    ];
  }
  const removed = () => attempt(said, async () => {
    await act(id, "remove");
    visit("queue");
  });
  function killButton() {
    // A tab that comes later begins to wait then.
    stopping ??= setTimeout(() => ((stopping = "over"), job() && show()), PATIENCE_MS);
    return stopping === "over" ? button("Kill", tried("kill"), { class: "danger" }) : element("span.quiet", "Stopping…");
  }
  async function showOutcome(current) {
    const { state, kind, failure } = current;
    if (state === "done" && kind === "verify") {
      if (answered) return;
      answered = true;
      return fill(outcome, verificationView(await get("/api/report", { job: id })));
    }
    answered = false;
    if (state === "done") return fill(outcome);
    if (failure && state !== "running")
      return fill(outcome, notice(failure),
        state === "interrupted" && element("p", "What is finished stays; Continue goes on from there."));
    fill(outcome,
      ["stopped", "interrupted"].includes(state) &&
        element("p.note",
          current.can_continue
            ? "Stopped. What is finished stays beside the output; Continue goes on from there to the same bytes."
            : "Stopped."));
  }
  void attempt(said, async () => {
    const made = await watch(id);
    rename(titleOf(made));
    fill(command, element("summary", "Command"), element("div.command", element("code", made.shell), copyButton(made.shell)),
      element("p.help", "This is what runs; in a terminal it makes the same file."));
    show();
    draw();
  });
  return {
    title: "Job", beside: head, node, leave: () => (unsubscribe(), unwatch(id), clearTimeout(timer), clearTimeout(stopping))
  };
}

function nowOf(job) {
  const state = element("p.state", badge(job.state), " ", job.state === "done" ? null : progress(job));
  if (job.state === "done" && WRITING.has(job.kind)) return [state, doneOf(job)];
  if (job.state !== "running" && job.state !== "stopping") return state;
  const of = job.phase?.tensors ? ` of ${whole(job.phase.tensors)}` : "";
  const isConverting = job.phase?.name === "converting";
  const count = isConverting ? `${whole(job.finished_tensors ?? 0)}${of} tensors` : of && counted(job.phase.tensors, "tensor");
  const at = (job.begun ?? []).slice(-3);
  const { objective_ratio, step, steps } = job.search ?? {};
  const search = job.search && `objective ${percent(objective_ratio)} of nearest codes', step ${whole(step)} of ${whole(steps)}`;
  return [state, element("p", count, at.length > 0 && [" · ", element("span.path", at.join(", "))], search && ` · ${search}`)];
}

function doneOf(job) {
  const report = job.report ?? job;
  const facts = [
    report.output_bytes && bytes(report.output_bytes),
    Number.isFinite(report.weight_error) && `error of all weights ${percent(report.weight_error)}`,
    job.started && job.ended && took(job.started, job.ended)
  ].filter(Boolean);
  return element("p.done-as", element("strong", fileName(job.output ?? job.input)),
    ` is complete${facts.length ? `: ${facts.join(", ")}` : ""}. `,
    element("a", { href: address("report", { job: job.id }) }, "See the report"));
}
