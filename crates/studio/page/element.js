// Elements without markup in text: whatever comes from a file becomes a text node.

const SVG = "http://www.w3.org/2000/svg";

/** Attributes that people read or hear. */
const READ = /^(title|placeholder|aria-label|aria-valuetext|aria-description)$/;

/**
 * Makes an element: `element("a", { href: "#/open", onclick: f }, "Open")`.
 *
 * Texts become text nodes; `null`, `undefined` and `false` nothing, lists their entries. A value that is a function listens
 * to the event after `on`.
 */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Makes an element of a drawing. */
export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Replaces what an element holds. */
export function fill(target, ...children) {
  target.replaceChildren(...nodes(children));
  return target;
}

/**
 * Returns text that cannot steer the page: control characters and those that reorder or hide text are escapes.
 */
export function plain(text) {
  const escape = (char) => `\\u{${char.codePointAt(0).toString(16)}}`;
  return String(text).replace(STEERING, escape);
}

const STEERING = /[\p{Cc}\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Cs}/gu;

function filled(target, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) give(target, name, value);
  target.append(...nodes(children));
  return target;
}

function give(target, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (typeof value === "function") target.addEventListener(name.slice(2), value);
  else if (name === "value" || name === "checked" || name === "selected") target[name] = value;
  else target.setAttribute(name, value === true ? "" : READ.test(name) ? plain(value) : String(value));
}

function nodes(children) {
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return shown.map((child) => (child instanceof Node ? child : document.createTextNode(plain(child))));
}
