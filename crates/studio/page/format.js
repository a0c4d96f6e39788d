// Numbers as people read them, the same as in the terminal.

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `1.23 GiB`. */
export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  let step = 0;
  for (; Math.abs(count) >= 1024 && step < BYTES.length - 1; step += 1) count /= 1024;
  return step === 0 ? `${count} B` : `${count.toFixed(2)} ${BYTES[step]}`;
}

/** A relative error with three digits: `2.64 %`. */
export function percent(share) {
  if (!Number.isFinite(share)) return "–";
  const value = share * 100;
  return `${value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3)} %`;
}

/** A mark of an axis: `3 %`. */
export function percentMark(share) {
  return `${Number((share * 100).toPrecision(3))} %`;
}

/** `2.11 → 1.05 GiB`, or one size where both are the same. */
export function bytesChange(from, to) {
  const [before, after] = [bytes(from), bytes(to)];
  if (before === after) return before;
  const [number, unit] = before.split(" ");
  return after.endsWith(` ${unit}`) ? `${number} → ${after}` : `${before} → ${after}`;
}

/** A share of a whole, rounded down: `42 %`. */
export function share(part, whole) {
  return `${Math.floor((100 * part) / Math.max(whole, 1e-300))} %`;
}

/** `0.43 s`, `14 min`, `2 h 5 min`. */
export function seconds(count) {
  if (!Number.isFinite(count)) return "unknown";
  if (count < 10 && !Number.isInteger(count)) return `${count.toFixed(2)} s`;
  if (count < 90) return `${Math.round(count)} s`;
  const minutes = Math.round(count / 60);
  if (minutes < 60) return `${minutes} min`;
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  return rest === 0 ? `${hours} h` : `${hours} h ${rest} min`;
}

/** A time that is reckoned, in whole seconds. */
export function about(count) {
  return seconds(Math.ceil(count));
}

/** Time between two seconds of a clock. */
export function took(started, ended) {
  return ended - started < 1 ? "took less than a second" : `took ${seconds(ended - started)}`;
}

/** `3 tensors`, `1 tensor`. */
export function counted(count, noun) {
  return `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** `12,345`. */
export function whole(count) {
  // By hand: the first call of `toLocaleString` takes a browser 50 ms.
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `9216×3072`. */
export function shape(sizes) {
  return sizes.length === 0 ? "scalar" : sizes.join("×");
}

/** Number of elements of a shape. */
export function elements(sizes) {
  return sizes.reduce((product, size) => product * size, 1);
}

/** Last part of a path. */
export function fileName(path) {
  return path.replace(/[/\\]+$/, "").split(/[/\\]/).pop();
}

/** The folder of a path. */
export function folderName(path) {
  const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"));
  return cut <= 0 ? path.slice(0, cut + 1) : path.slice(0, cut);
}

/** A name that is in another folder. */
export function joined(folder, name) {
  const slash = folder.includes("\\") && !folder.includes("/") ? "\\" : "/";
  return folder.endsWith(slash) ? folder + name : folder + slash + name;
}

/** What became of a tensor: its scheme, or what was done with it. */
export function becomes({ decision, scheme }) {
  const words =
    { copy: "kept", rename: "kept", remove: "removed", decode: "decoded", repack: "moved", correct: "corrected", merge: "merged" };
  return scheme ?? words[decision] ?? decision;
}

/** Who opens weights of a scheme, in words. */
export function opened({ opens, program, reason, way_out }) {
  if (opens === "yes") return `opened by ${program}`;
  return [reason, way_out].filter(Boolean).join("; ");
}
