// What would happen to every tensor, and why; changes ask again.

import { newest, post } from "../api.js";
import { element, fill } from "../element.js";
import { about, bytes, counted, fileName, folderName, whole } from "../format.js";
import { address, parsed, remember, visit } from "../route.js";
import { ask, button, complain, copyButton, lines, mayReplace, notice, refuse } from "../widgets.js";
import { budgetView } from "./budget.js";
import { kindsView } from "./kinds.js";
import { consumerLine } from "./report_view.js";
import { settingsForm } from "./settings.js";
import { sizesView } from "./sizes.js";
import { trialView } from "./trial.js";

/** Quiet time after a change before it is planned. */
const QUIET_MS = 150;

/** Plan. `input`, `output`, and `recipe` and `run` as JSON. */
export function planPage({ input, output, recipe, run }, { vocabulary, say }) {
  if (!input)
    return { title: "Plan", node: element("p", "No model is chosen yet. ", element("a", { href: address("open") }, "Open one.")) };
  const state = { input, output: output ?? "", recipe: parsed(recipe, {}), run: parsed(run, {}), plan: null, isStale: true };
  const said = element("div");
  const summary = element("section.summary", { "aria-label": "Summary" }, element("p.quiet", "Reading headers…"));
  const start = button("Start", () => submit(true), { class: "main" });
  const later = button("Add to queue", () => submit(false));
  const settings = settingsForm(state, vocabulary, changed);
  const kinds = kindsView(state, vocabulary, () => (settings.reset(), changed()));
  const sizes = sizesView(state, useScheme);
  const trial = trialView(state, vocabulary, { use, again: () => node.isConnected && replan() });
  const budget = budgetView(state, vocabulary, use);
  const results = element("div.results", said, summary, kinds.node, sizes.node, trial.node, budget.node);
  const node = element("div.plan", settings.node, results);
  const planning = newest((signal) => post("/api/plan", body(state), signal));
  let timer = 0;

  function changed() {
    remember("plan", { input, output: state.output, recipe: state.recipe, run: state.run });
    state.isStale = true;
    clearTimeout(timer);
    timer = setTimeout(replan, QUIET_MS);
  }
  async function replan() {
    clearTimeout(timer);
    const local = settings.problems();
    if (local.length) return complain(node, local), null;
    results.setAttribute("aria-busy", "true");
    try {
      const plan = await planning();
      // A newer request took its place.
      if (plan === undefined) return null;
      complain(node, []);
      fill(said);
      Object.assign(state, { plan, isStale: false });
      show(plan);
      return plan;
    } catch (error) {
      const rest = complain(node, error.complaints ?? []);
      const isPlaced = error.complaints?.length > 0 && rest.length === 0;
      // What stands below is of other settings.
      const older = state.plan && element("p.note", "Below is the plan of the last settings that fit.");
      fill(said, isPlaced ? older : noticeOf(error, rest));
      summary.hidden = !state.plan;
      return null;
    } finally {
      results.setAttribute("aria-busy", "false");
    }
  }
  function noticeOf(error, rest) {
    return notice({ message: rest.length ? rest.join("\n") : error.message, help: error.help }, button("Try again", () => replan()),
      element("a.button", { href: address("open", { path: folderName(input) }) }, "Choose another file"),
      error.status === 422 && element("a.button", { href: address("check", { input }) }, "Look at this file"));
  }
  function show(plan) {
    summary.hidden = false;
    fill(summary, summaryOf(plan));
    settings.update(plan);
    kinds.update(plan);
    sizes.update(plan);
    trial.update(plan);
    budget.update(plan);
    complain(node, placeProblems(plan));
  }
  function useScheme(scheme) {
    state.recipe.scheme = scheme;
    use(state.recipe);
  }
  function use(next) {
    state.recipe = next;
    settings.reset();
    changed();
  }
  async function submit(starts) {
    // What is started is what was shown, never a plan of older settings.
    const plan = state.isStale ? await replan() : state.plan;
    if (!plan) return focusProblem(node);
    if (placeProblems(plan).length) return complain(node, placeProblems(plan)), focusProblem(node);
    const how = await decide(plan);
    if (how === null) return focusOutput();
    const run = how === "fresh" ? { ...state.run, starts_over: true } : state.run;
    try {
      const job = await post("/api/jobs", { ...body(state), kind: "convert", run, replace: how === "replace", starts });
      say(starts ? "Started" : "Added to the queue");
      visit(starts ? "job" : "queue", starts ? { id: job.id } : {});
    } catch (error) {
      refuse(node, said, error);
      focusProblem(node);
    }
  }
  function focusOutput() {
    node.querySelector("[data-field=output]")?.focus();
  }
  replan();
  return {
    title: fileName(input), beside: element("div.actions", start, later), node, leave: () => clearTimeout(timer)
  };
}

/** What is asked of the server; numbers and lists only where they are given. */
export function body({ input, output, recipe, run }) {
  return { input, output: output || undefined, recipe, run };
}

/** Resolves to `new`, `replace`, `continue`, `fresh`, or null where somebody thought better of it. */
async function decide(plan) {
  if (plan.output_exists)
    return (await mayReplace(`${plan.output} exists already.`, "Choose another name")) ? "replace" : null;
  if (plan.unfinished?.differences?.length) {
    const content = [
      element("p", "An unfinished output is there, which was made otherwise:"),
      element("ul", plan.unfinished.differences.map((text) => element("li", text)))
    ];
    const answer = await ask("Start over?", content, [["cancel", "Cancel"], ["fresh", "Start over"]]);
    return answer === "fresh" ? "fresh" : null;
  }
  return plan.unfinished ? "continue" : "new";
}

/** Why nothing can be written where the output is to be. */
function placeProblems(plan) {
  if (plan.problem?.field) return [{ field: plan.problem.field, problem: plan.problem.message }];
  return lacksRoom(plan) ? [{ field: "output", problem: noRoom(plan) }] : [];
}

/** An unfinished output has its room already. */
function lacksRoom(plan) {
  return plan.free_bytes < plan.disk_bytes && !plan.unfinished;
}

function noRoom(plan) {
  return `needs ${bytes(plan.disk_bytes)}, and ${bytes(plan.free_bytes)} are free there: choose another folder or make room`;
}

function focusProblem(node) {
  const control = node.querySelector("[aria-invalid=true]");
  (control ?? node.querySelector(".notice"))?.focus?.();
}

function summaryOf(plan) {
  const { converted_tensors: converted, kept_tensors: kept, removed_tensors: removed } = plan;
  const time = Number.isFinite(plan.estimated_seconds)
    ? `about ${about(plan.estimated_seconds)} (${plan.estimated_from === "try" ? "tried" : "as an earlier job"})`
    : "time unknown; Try tells";
  const banded = plan.weights_by_bands ? `, ${counted(plan.weights_by_bands, "weight")} by bands` : "";
  const facts = [
    `${whole(converted)} converted, ${whole(kept)} kept${removed ? `, ${whole(removed)} removed` : ""}`,
    `at most ${bytes(plan.peak_memory_bytes)} of memory${banded}`,
    Number.isFinite(plan.free_bytes) && `${bytes(plan.free_bytes)} free`, time
  ].filter(Boolean);
  return [
    element("p.model", `${plan.architecture} · preset ${plan.preset}`,
      element("span.quiet", ` · ${plan.kind} · layout ${plan.layout}`)),
    element("p.sizes", element("span.from", bytes(plan.input_bytes)), " → ", element("strong.to", bytes(plan.output_bytes)),
      element("span.quiet", " exactly, as "), element("span.quiet.path", fileName(plan.output))),
    element("p", facts.join(" · ")),
    plan.consumers.map(consumerLine),
    plan.problem && !plan.problem.field && notice(plan.problem),
    plan.unfinished && !plan.unfinished.differences?.length &&
      element("p.note", `Goes on where it was stopped: ${finishedOf(plan.unfinished)} are finished.`),
    plan.unfinished?.differences?.length > 0 && element("p.note",
      `An unfinished output is there, which was made otherwise: ${plan.unfinished.differences.join("; ")}. Start asks before it starts over.`),
    plan.output_exists && !plan.problem && element("p.note", `${fileName(plan.output)} exists; Start asks before it is replaced.`),
    plan.notes.map((note) => element("p.note", lines(note))),
    element(
      "details", element("summary", "Command"), element("div.command", element("code", plan.shell), copyButton(plan.shell))),
  ];
}

function finishedOf({ finished_tensors, tensors }) {
  return `${whole(finished_tensors)} of ${counted(tensors, "tensor")}`;
}
