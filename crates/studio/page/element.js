// Elements without markup in text: whatever comes from a file becomes a text node.

const SVG = "http://www.w3.org/2000/svg";

/** Attributes that people read or hear. */
const READ = /^(title|placeholder|aria-label|aria-valuetext|aria-description)$/;

/**
 * Makes an element: `element("a.quiet", { href: "#/open", onclick: f }, "Open")`. Classes stand behind the tag, attributes may be
 * left out.
 *
 * Texts become text nodes; `null`, `undefined` and `false` nothing, lists their entries. A value that is a function listens
 * to the event after `on`.
 */
export function element(tag, ...parts) {
  return filled((name) => document.createElement(name), tag, parts);
}

/** Makes an element of a drawing. */
export function drawn(tag, ...parts) {
  return filled((name) => document.createElementNS(SVG, name), tag, parts);
}

/** Replaces what an element holds. */
export function fill(target, ...children) {
  target.replaceChildren(...nodes(children));
  return target;
}

/** Returns text that cannot steer the page: control characters and those that reorder or hide text are escapes. */
export function plain(text) {
  const escape = (char) => `\\u{${char.codePointAt(0).toString(16)}}`;
  return String(text).replace(STEERING, escape);
}

const STEERING =
  /[\p{Cc}\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Cs}/gu;

function filled(make, tag, parts) {
  const [name, ...classes] = tag.split(".");
  const target = make(name);
  const attributes = isAttributes(parts[0]) ? parts.shift() : {};
  for (const [key, value] of Object.entries(attributes)) give(target, key, value);
  target.classList.add(...classes);
  target.append(...nodes(parts));
  return target;
}

function isAttributes(part) {
  return typeof part === "object" && part !== null && !Array.isArray(part) && !(part instanceof Node);
}

function give(target, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (typeof value === "function") target.addEventListener(name.slice(2), value);
  // As attributes these are what a control begins with, not what it holds.
  else if (name === "value" || name === "checked" || name === "selected") target[name] = value;
  else target.setAttribute(name, value === true ? "" : READ.test(name) ? plain(value) : String(value));
}

function nodes(children) {
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return shown.map((child) => (child instanceof Node ? child : document.createTextNode(plain(child))));
}
