// The arithmetic of the explorers: plain arrays in, plain arrays out. Equal to llmguide_lib.attention, and tested so.

export function dot(a, b) {
  return a.reduce((sum, value, place) => sum + value * b[place], 0);
}

// The places of the largest values, the largest first; of equals the earlier one. What is kept stays sorted, so that most
// values are looked at once: this is asked for rows as long as the vocabulary.
export function highest(values, count) {
  const kept = [];
  for (let at = 0; at < values.length; at++) {
    if (kept.length === count && !(values[at] > values[kept[count - 1]])) continue;
    const place = kept.findIndex((other) => values[at] > values[other]);
    kept.splice(place < 0 ? kept.length : place, 0, at);
    if (kept.length > count) kept.pop();
  }
  return kept;
}

// A number to be read, with a minus sign and not a hyphen.
export function written(number, digits) {
  return number.toFixed(digits).replace("-", "−");
}

// A change to be read: always with its sign, unless it is rounded to nothing.
export function signed(number, digits) {
  const text = written(Math.abs(number), digits);
  return Number(text) === 0 ? text : `${number < 0 ? "−" : "+"}${text}`;
}

// How much of one distribution must be moved to make the other of it: from 0 to 1.
export function moved(before, after) {
  return before.reduce((sum, value, place) => sum + Math.abs(value - after[place]), 0) / 2;
}

// One query's table: raw and divided scores, exponentials, weights. A forbidden key gets exponential and weight 0;
// a query that may see no key gets weights that are all 0.
export function weigh(query, keys, divisor, allowed) {
  const raw = keys.map((key) => dot(query, key));
  const scores = raw.map((score) => score / divisor);
  const seen = scores.filter((_, place) => allowed[place]);
  const exponentials = scores.map((score, place) => (allowed[place] ? Math.exp(score) : 0));
  const highest = Math.max(...seen); // taken off before the exponential, so that large scores do not overflow
  const safe = scores.map((score, place) => (allowed[place] ? Math.exp(score - highest) : 0));
  const total = safe.reduce((a, b) => a + b, 0);
  return { raw, scores, exponentials, weights: safe.map((value) => (total ? value / total : 0)) };
}

// A mask as rows of booleans; true means may attend. `window` 0 means no limit.
export function mask(size, { causal = false, length = size, window = 0 } = {}) {
  const places = [...Array(size).keys()];
  return places.map((t) =>
    places.map((s) => (!causal || s <= t) && s < length && (!window || Math.abs(t - s) < window)),
  );
}

// What can reach what through a number of layers with this mask, each of which keeps its input beside its output
// (as every Transformer layer does): row t, column s says whether a change at s can be felt at t.
export function reach(allowed, layers) {
  const size = allowed.length;
  let reached = allowed.map((row, t) => row.map((may, s) => may || t === s));
  const step = reached;
  for (let layer = 1; layer < layers; layer++) {
    reached = reached.map((row) =>
      row.map((_, s) => row.some((through, via) => through && step[via][s])),
    );
  }
  return size ? reached : [];
}
