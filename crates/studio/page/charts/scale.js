// From values to places in a picture.

/** Places of a linear axis: `scale(value)`, with `invert(place)` and `ticks(count)`. */
export function linear([low, high], [from, to]) {
  // A single value spans nothing.
  const span = high - low || 1;
  const scale = (value) => from + ((value - low) / span) * (to - from);
  scale.invert = (place) => low + ((place - from) / (to - from)) * span;
  scale.ticks = (count) => {
    const step = niceStep(span / count);
    // Ends that are whole steps but for their last bits are ticks.
    const first = Math.ceil(low / step - 1e-9);
    const last = Math.floor(high / step + 1e-9);
    return range(first, last).map((index) => Number((index * step).toPrecision(12)));
  };
  return scale;
}

/** Places of a logarithmic axis; all values are above 0. */
export function logarithmic([low, high], places) {
  const inner = linear([Math.log10(low), Math.log10(high)], places);
  const scale = (value) => inner(Math.log10(value));
  scale.invert = (place) => 10 ** inner.invert(place);
  scale.ticks = (count) => {
    const decades = range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)));
    const candidates = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]].map((steps) => {
      // Without the digits in which a product of floats is off.
      const all = decades.flatMap((decade) => steps.map((step) => Number((step * 10 ** decade).toPrecision(6))));
      return all.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
    });
    // The fewest steps of a decade that make three ticks; where not even all of them do, the axis
    // is nearly linear.
    const rich = candidates.find((ticks) => ticks.length >= Math.min(3, count));
    return rich && rich.length <= 2 * count ? rich : linear([low, high], places).ticks(count).filter((tick) => tick > 0);
  };
  return scale;
}

/** Ends for a logarithmic axis that holds all values, with room at both ends. */
export function logDomain(values) {
  const shown = values.filter((value) => value > 0 && Number.isFinite(value));
  if (shown.length === 0) return [0.001, 0.1];
  const [low, high] = ends(shown);
  const room = Math.max((high / low) ** 0.08, 1.06);
  return [low / room, high * room];
}

/** Smallest and largest of many numbers. */
export function ends(values) {
  // Not `Math.min(...values)`: a call takes fewer arguments than there may be layers.
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

/** Whole numbers from one to another, both included. */
export function range(first, last) {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}

/** The value below which a share of sorted numbers lies. */
export function quantile(sorted, at) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(at * (sorted.length - 1))))];
}

function niceStep(rough) {
  const decade = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((nice) => nice * decade >= rough * 0.999);
  return step * decade;
}
