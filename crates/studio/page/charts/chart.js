// The frame of every picture: finding, axes, hover, keys, numbers.

import { drawn, element, fill } from "../element.js";
import { plainTable } from "./table.js";

const MARGIN = { top: 12, right: 14, bottom: 38, left: 58 };
const FIRST_WIDTH = 720;
/** Pixels that a pointer moves before it draws a range. */
const DRAG = 8;

/**
 * Makes a figure whose caption says what is to be seen.
 *
 * - `name`: for tests and styles
 * - `draw(frame)`: returns `{ caption, parts, marks, legend, head, rows }`; `frame` has the four sides, `width` and
 *   `height`. A mark is `{ x, y, text, box, value }`; `box` outlines it where it is no dot. No `marks` where there is
 *   nothing to walk over.
 * - `open(value)`: what Enter and a click on a mark do
 * - `zoom(from, to)`: what a drawn range does, in pixels
 */
export function chart({ name, title, height = 250, draw, open, zoom, actions = [] }) {
  const caption = element("figcaption");
  const picture = drawn("svg", { class: `picture ${name}`, "aria-label": title });
  const readout = element("p.readout");
  const numbers = element("details.numbers", element("summary", "Numbers"));
  const node = element("figure.chart", { "data-chart": name }, element("h2", title), caption, picture, readout, actions, numbers);
  const state = { width: FIRST_WIDTH, drawing: null, current: -1 };

  function redraw() {
    const drawing = draw(frame(state.width, height));
    state.drawing = drawing;
    state.current = -1;
    fill(caption, drawing.caption);
    picture.setAttribute("viewBox", `0 0 ${state.width} ${height}`);
    picture.setAttribute("height", height);
    fill(picture, drawing.parts, drawn("g.pointed"));
    fill(readout, drawing.legend ?? "");
    describe(picture, drawing.marks, title);
    // Rows of a table are made where somebody looks at them.
    if (numbers.open) showNumbers();
  }
  function showNumbers() {
    const { head, rows } = state.drawing;
    fill(numbers, numbers.firstChild, plainTable(head, rows, `Numbers: ${title}`));
  }
  function point(index) {
    const { marks = [], legend } = state.drawing;
    state.current = index;
    const mark = marks[index];
    fill(picture.lastChild, mark && outline(mark));
    fill(readout, mark ? mark.text : (legend ?? ""));
    if (mark) {
      picture.setAttribute("aria-valuenow", index);
      picture.setAttribute("aria-valuetext", mark.text);
    }
  }
  numbers.addEventListener("toggle", () => numbers.open && showNumbers());
  listenToPointer(picture, state, point, open, zoom);
  listenToKeys(picture, state, point, open);
  new ResizeObserver(([{ contentRect }]) => {
    const width = Math.round(contentRect.width);
    // What is not shown has no width.
    if (width < 50 || width === state.width) return;
    state.width = width;
    redraw();
  }).observe(picture);
  redraw();
  return { node, redraw };
}

/** Grid, ticks and names of two axes. A tick is `[place, text]`. */
export function axes(frame, { x = [], y = [], across, up }) {
  const { left, right, top, bottom } = frame;
  const line = (x1, y1, x2, y2, kind) => drawn("path", { class: kind, d: `M${dot(x1)} ${dot(y1)}L${dot(x2)} ${dot(y2)}` });
  const text = (x, y, words, kind) => drawn("text", { class: kind, x: dot(x), y: dot(y) }, words);
  return drawn("g.axes", { "aria-hidden": "true" },
    y.map(([at, words]) => [line(left, at, right, at, "grid"), text(left - 6, at + 4, words, "tick up")]),
    apart(x, 44).map(([at, words]) => [line(at, bottom, at, bottom + 4, "axis"), text(at, bottom + 16, words, "tick")]),
    line(left, bottom, right, bottom, "axis"),
    across && text((left + right) / 2, bottom + 33, across, "name"),
    up && text(left - 50, top - 11, up, "name up"));
}

/** A path of dots, one element however many; the shapes tell series apart where colours do not. */
export function dots(points, series) {
  const draw = SHAPES[series % SHAPES.length];
  const path = points.map(([x, y]) => `M${dot(x)} ${dot(y)}${draw}`).join("");
  return drawn("path", { class: `dots series-${series % SERIES}`, d: path, "data-count": points.length });
}

/** A key of series: shape, colour and name. */
export function legend(names) {
  const sample = (index) => drawn("svg.sample", { viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" },
    typeof index === "number" ? dots([[7, 7]], index) : drawn("path", { class: `dots ${index}`, d: `M7 7${SHAPES[0]}` }));
  return names.map(([index, name]) => element("span.key", sample(index), ` ${name}`));
}

/** Colours of series in the style sheet. */
const SERIES = 6;
const SHAPES = [
  "h0", "m-3.2 -3.2h6.4v6.4h-6.4z", "m0 -4.2l4.2 4.2l-4.2 4.2l-4.2 -4.2z", "m0 -4l4 7h-8z", "m0 4l4 -7h-8z", "m-4 -1.3h8v2.6h-8z"
];

/** A coordinate in tenths of a pixel: pictures are the same everywhere. */
export function dot(place) {
  return Math.round(place * 10) / 10;
}

/** A key of series is only worth its place where there are several. */
export function seriesOf(layers) {
  return [...new Set(layers.map((layer) => layer.scheme))];
}

function frame(width, height) {
  return { width, height, left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top + 12, bottom: height - MARGIN.bottom };
}

function apart(ticks, room) {
  let last = -Infinity;
  return ticks.filter(([at]) => at - last >= room && (last = at) === at);
}

function outline({ x, y, box }) {
  if (box) return drawn("rect", { x: dot(box.x), y: dot(box.y), width: dot(box.width), height: dot(box.height) });
  return drawn("circle", { cx: dot(x), cy: dot(y), r: 6 });
}

/** With marks a picture is walked like a slider, so that each of them is read out; without it is a picture. */
function describe(picture, marks, title) {
  const walked = {
    role: "slider", tabindex: "0", "aria-valuemin": 0, "aria-valuemax": marks?.length - 1, "aria-valuenow": 0,
    "aria-valuetext": `${title}: arrow keys walk over it`
  };
  const roles = marks?.length ? walked : { role: "img" };
  for (const name of ["role", "tabindex", "aria-valuemin", "aria-valuemax", "aria-valuenow", "aria-valuetext"]) {
    if (name in roles) picture.setAttribute(name, roles[name]);
    else picture.removeAttribute(name);
  }
}

function listenToPointer(picture, state, point, open, zoom) {
  let pressed = null;
  const place = (event) => {
    const box = picture.getBoundingClientRect();
    return [((event.clientX - box.left) * state.width) / box.width, event.clientY - box.top];
  };
  picture.addEventListener("pointermove", (event) => point(nearest(state.drawing.marks, place(event))));
  picture.addEventListener("pointerleave", () => point(-1));
  picture.addEventListener("pointerdown", (event) => (pressed = place(event)[0]));
  picture.addEventListener("pointerup", (event) => {
    const [at] = place(event);
    const moved = pressed === null ? 0 : Math.abs(at - pressed);
    if (zoom && moved > DRAG) zoom(Math.min(at, pressed), Math.max(at, pressed));
    else if (open && state.current >= 0) open(state.drawing.marks[state.current].value);
    pressed = null;
  });
}

function listenToKeys(picture, state, point, open) {
  picture.addEventListener("keydown", (event) => {
    const marks = state.drawing.marks ?? [];
    const { current } = state;
    const steps = {
      ArrowRight: current + 1, ArrowUp: current + 1, ArrowLeft: current - 1, ArrowDown: current - 1, Home: 0,
      End: marks.length - 1
    };
    if (event.key in steps && marks.length > 0) point(Math.max(0, Math.min(marks.length - 1, steps[event.key])));
    else if (event.key === "Enter" && open && current >= 0) open(marks[current].value);
    else return;
    event.preventDefault();
  });
  picture.addEventListener("blur", () => point(-1));
}

/** Index of the mark next to a place, or −1. */
function nearest(marks = [], [x, y]) {
  let [best, least] = [-1, Infinity];
  marks.forEach((mark, index) => {
    const { box } = mark;
    const away = box ? Math.max(box.x - x, 0, x - box.x - box.width) * 1000 : (mark.x - x) ** 2 + (mark.y - y) ** 2;
    if (away < least) [best, least] = [index, away];
  });
  return best;
}
