// What the page knows of jobs: snapshots of the server, kept up to date by its events.

import { get, listen, post } from "./api.js";

/** Events that are kept, for snapshots that are older than they are. */
const KEPT = 5000;

const known = { runs: false, seq: 0, order: [], byId: new Map() };
const watched = new Map();
const listeners = new Set();
/** Lists that take every event which comes while a snapshot is on its way. */
const catching = new Set();
let recent = [];

/** The queue as it is known: `runs`, and jobs in order. */
export function queue() {
  return { runs: known.runs, jobs: known.order.map((id) => known.byId.get(id)).filter(Boolean) };
}

/** The job that is at work, if any. */
export function running() {
  return queue().jobs.find((job) => job.state === "running" || job.state === "stopping") ?? null;
}

/** Calls back with every event, or with null after a snapshot; returns what ends that. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Fetches a job with all that is finished of it, and keeps it up to date until `unwatch`. */
export async function watch(id) {
  const job = await get(`/api/jobs/${id}`);
  job.finished = new Map((job.finished ?? []).map((tensor) => [tensor.name, tensor]));
  job.log ??= [];
  // Events that came while the snapshot was on its way.
  for (const event of recent) if (event.job === id && event.seq > job.seq) apply(job, event);
  watched.set(id, job);
  return job;
}

/** Stops keeping a job up to date. */
export function unwatch(id) {
  watched.delete(id);
}

/** Does something with a job: `stop`, `kill`, `continue`, `fresh`, `remove`, `move`. */
export async function act(id, action, body = {}) {
  await post(`/api/jobs/${id}/${action}`, body);
  await refresh();
}

const ENDS = ["done", "failed", "stopped", "interrupted"];

/** Resolves to the report of a job that answers a question, which is forgotten then; fails with what went wrong. */
export function outcomeOf(id) {
  return new Promise((resolve, reject) => {
    let isOver = false;
    const look = async () => {
      try {
        const { state, failure } = await get(`/api/jobs/${id}`);
        if (isOver || !ENDS.includes(state)) return;
        end();
        if (state !== "done") return reject(failure ?? { message: state });
        resolve(await get("/api/report", { job: id }));
        await act(id, "remove").catch(() => {});
      } catch (error) {
        end();
        reject(error);
      }
    };
    const unsubscribe = subscribe((event) => (event === null || (event.event === "state" && event.job === id)) && void look());
    const end = () => ((isOver = true), unsubscribe());
    // It may be over already.
    void look();
  });
}

/** Lets the queue go on, or wait. */
export async function setRunning(runs) {
  await post("/api/queue", { runs });
  await refresh();
}

/** Fetches the queue anew. */
export async function refresh() {
  const [seen, late] = [known.seq, []];
  catching.add(late);
  const answer = await get("/api/jobs").finally(() => catching.delete(late));
  // A server that was started anew counts from the beginning.
  if (answer.seq < seen) recent = [];
  known.runs = answer.runs;
  known.seq = answer.seq;
  known.order = answer.jobs.map((job) => job.id);
  known.byId = new Map(answer.jobs.map((job) => [job.id, job]));
  for (const event of late) if (event.seq > known.seq) note(event);
  await Promise.all([...watched.keys()].map((id) => watch(id).catch(() => watched.delete(id))));
  tell(null);
}

/** Begins to listen. `there(isThere, error)` is told whether the server answers. */
export function start(there) {
  return refresh().then(() => listen({ since: () => known.seq, take, refresh, tell: there }));
}

/** A watched job, as it is now. */
export function watchedJob(id) {
  return watched.get(id) ?? null;
}

/** How much of its phase a job has behind it, from 0 to 1, or null where nobody knows. */
export function progressOf(job) {
  const [done, all] = [job.progress?.bytes_done, job.phase?.bytes];
  return Number.isFinite(done) && all > 0 ? Math.min(1, done / all) : null;
}

function take(event) {
  if (event.event === "reload" || event.event === "crowded") return void refresh().catch(() => {});
  // Part of a snapshot already.
  if (event.seq <= known.seq) return;
  for (const late of catching) late.push(event);
  recent.push(event);
  // Cut now and then, not with every event.
  if (recent.length > 2 * KEPT) recent = recent.slice(-KEPT);
  note(event);
  const isNews = event.event === "added" || event.event === "removed" || event.event === "done" || event.event === "failed";
  // Jobs that are new, and what their end changes of them, come with a snapshot.
  if (isNews || (event.event === "queue" && known.order.some((id) => !known.byId.has(id)))) void refresh().catch(() => {});
  const job = watched.get(event.job);
  if (job) apply(job, event);
  tell(event);
}

/** Brings the queue up to date. */
function note(event) {
  known.seq = event.seq;
  if (event.event === "queue") {
    known.runs = event.runs;
    known.order = event.order ?? known.order;
  }
  const job = known.byId.get(event.job);
  if (job) apply(job, event);
}

function tell(event) {
  for (const listener of listeners) listener(event);
}

const CHANGES = {
  state: (job, { state, can_continue, failure, started, ended }) => {
    Object.assign(job, { state, can_continue, started, ended });
    job.failure = failure ?? (state === "running" ? null : job.failure);
  },
  phase: (job, { name, tensors, bytes }) => {
    Object.assign(job, { phase: { name, tensors, bytes }, progress: null, begun: [], search: null });
    if (name === "converting") job.finished_tensors = 0;
  },
  progress: (job, { bytes_done, bytes_per_second, seconds_left }) => (job.progress = { bytes_done, bytes_per_second, seconds_left }),
  begun: (job, { tensor }) => (job.begun = [...(job.begun ?? []).filter((name) => name !== tensor), tensor]),
  search: (job, { tensor, objective_ratio, step, steps }) => (job.search = { tensor, objective_ratio, step, steps }),
  finished: (job, { tensor }) => {
    job.finished_tensors = (job.finished_tensors ?? 0) + 1;
    job.begun = (job.begun ?? []).filter((name) => name !== tensor.name);
    if (job.search?.tensor === tensor.name) job.search = null;
    job.finished?.set?.(tensor.name, tensor);
  },
  log: (job, event) => job.log?.push(event.line ?? event.text ?? ""),
  not_finite: (job, { tensor }) => job.log?.push(`${tensor} holds a NaN or an infinity; it is kept`),
  done: (job, { report }) => (job.report = report),
  failed: (job, { kind, message, help, unfinished_files }) => (job.failure = { kind, message, help, unfinished_files }),
};

function apply(job, event) {
  CHANGES[event.event]?.(job, event);
}
