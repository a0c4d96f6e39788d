// Requests to the server: the key, answers, complaints, the stream of events.

const KEY = "roundwise.key";

/** An answer that is an error. */
export class Refusal extends Error {
  /**
   * - `kind`: stable name
   * - `help`: what helps, or null
   * - `complaints`: `{ field, problem }` of single settings
   */
  constructor(status, { kind, message, help, complaints }) {
    super(message ?? `the server answered ${status}`);
    Object.assign(this, { status, kind: kind ?? "unknown", help: help ?? null, complaints: complaints ?? [] });
  }
}

/**
 * Takes the key out of the address, so that neither history nor screen shows it. Returns what the server greets with, or null
 * where the address held nothing that opens it: any page may link here with a key that is none, and the one that is known stays.
 */
export async function unlock() {
  const fragment = new URLSearchParams(location.hash.replace(/^#/, ""));
  const [once, key] = [fragment.get("once"), fragment.get("key")];
  if (!once && !key) return null;
  history.replaceState(null, "", location.pathname);
  try {
    // The vocabulary with the key: whether it opens anything shows before the old one is forgotten.
    const greeting = await (once ? post("/api/session", { once }) : ask("GET", "/api/vocabulary", undefined, undefined, key));
    localStorage.setItem(KEY, greeting.key ?? key);
    return greeting;
  } catch (error) {
    if (error.status !== 401) throw error;
    return null;
  }
}

/** Asks for something; `get("/api/folder", { path })`. */
export function get(path, query = {}, signal) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  const search = new URLSearchParams(given).toString();
  return ask("GET", search ? `${path}?${search}` : path, undefined, signal);
}

/** Asks for something with a body of JSON. */
export function post(path, body = {}, signal) {
  return ask("POST", path, body, signal);
}

/** Gets a text that the user is going to save. */
export async function getText(path, query) {
  return (await sent("GET", `${path}?${new URLSearchParams(query)}`)).text();
}

async function ask(method, path, body, signal, key) {
  const answer = await sent(method, path, body, signal, key);
  return answer.status === 204 ? null : answer.json();
}

async function sent(method, path, body, signal, key = localStorage.getItem(KEY) ?? "") {
  const headers = { Authorization: `Bearer ${key}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(
      path, { method, headers, signal, cache: "no-store", body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw away();
  }
  if (answer.ok) return answer;
  // What stands between page and server, such as a tunnel, answers with no JSON.
  const said = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, said.error ?? {});
}

function away() {
  const help = "It may have been closed: start it again, jobs go on where they were.";
  return new Refusal(0, { kind: "away", message: "roundwise studio does not answer", help });
}

/**
 * Returns a function of which only the newest call is answered: an older answer never replaces a newer one.
 *
 * - `ask(signal, ...arguments)`: the request
 */
export function newest(ask) {
  let current = null;
  return async (...given) => {
    current?.abort();
    const mine = (current = new AbortController());
    try {
      const answer = await ask(mine.signal, ...given);
      return mine === current ? answer : undefined;
    } catch (error) {
      if (mine !== current || error.name === "AbortError") return undefined;
      throw error;
    }
  };
}

/** Between two attempts at the stream. */
const RETRY_MS = 1000;
/** Between two questions, where the stream was taken by a newer tab. */
const ASK_MS = 5000;
/** Questions before such a tab tries the stream again. */
const TURNS = 12;

/**
 * Reads events for as long as the tab lives.
 *
 * - `since()`: number of the last event that is known
 * - `take(event)`: gets every event
 * - `refresh()`: fetches snapshots, where events were missed
 * - `tell(isThere)`: whether the server answers
 */
export async function listen({ since, take, refresh, tell }) {
  for (;;) {
    try {
      const answer = await sent("GET", `/api/events?after=${since()}`);
      tell(true);
      await readLines(answer.body, take);
      // It ended without an error: a newer tab has taken it.
      for (let turn = 0; turn < TURNS; turn += 1) {
        await pause(ASK_MS);
        await refresh();
      }
    } catch (error) {
      if (error.status === 401) return tell(false, error);
      tell(false, error instanceof Refusal ? error : away());
      await pause(RETRY_MS);
      await refresh().catch(() => {});
    }
  }
}

async function readLines(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    // The last line may go on in the next piece.
    rest = lines.pop();
    for (const line of lines) if (line.trim()) take(JSON.parse(line));
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
