// Hooks of model.js that look and intervene, and how several of them work together.

import { Refusal } from "./refusals.js";

export const PLACES = ["embedding", "weights", "heads", "attention", "feedForward", "block", "final"];

// Keeps copies of what passes these places: `found[place]` lists {layer, values}, in the order of the layers.
export function capture(places) {
  const found = Object.fromEntries(places.map((name) => [checked(name), []]));
  const keep = (name) => (values, { layer }) => found[name].push({ layer, values: values.slice() });
  return { found, hooks: Object.fromEntries(places.map((name) => [name, keep(name)])) };
}

// What can be done to a model, from a plain description that travels to a worker.
const INTERVENTIONS = { head: silentHead, feedForward: silentFeedForward, layer: silentLayer, replace: replaced };

export function intervention({ kind, ...description }, model) {
  if (!Object.hasOwn(INTERVENTIONS, kind)) throw new Refusal("unknown", kind, Object.keys(INTERVENTIONS).join(", "));
  return INTERVENTIONS[kind](description, model);
}

// A head that says nothing: {kind: "head", layer, head}.
function silentHead({ layer, head }, { headWidth, numHeads, blocks }) {
  inRange("layer", layer, blocks.length);
  inRange("head", head, numHeads);
  return {
    heads: (values, place) => {
      if (place.layer !== layer) return;
      const width = numHeads * headWidth;
      for (let t = 0; t < place.count; t++) values.fill(0, t * width + head * headWidth, t * width + (head + 1) * headWidth);
    },
  };
}

// A feed-forward layer that adds nothing: {kind: "feedForward", layer}.
function silentFeedForward({ layer }, { blocks }) {
  inRange("layer", layer, blocks.length);
  return { feedForward: (values, place) => place.layer === layer && values.fill(0) };
}

// A layer that adds nothing to the residual stream: {kind: "layer", layer}.
function silentLayer({ layer }, { blocks }) {
  inRange("layer", layer, blocks.length);
  const silence = (values, place) => place.layer === layer && values.fill(0);
  return { attention: silence, feedForward: silence };
}

// Another vector at one position, such as one captured with another text: {kind: "replace", place, layer, position,
// values}. Weights of attention are no vectors of positions and cannot be replaced so.
function replaced({ place: name, layer, position, values: vector }, { blocks, maxSeqLen }) {
  if (checked(name) === "weights") throw new Refusal("unknown", name, PLACES.filter((one) => one !== name).join(", "));
  if (layer !== undefined) inRange("layer", layer, blocks.length);
  inRange("position", position, maxSeqLen);
  return {
    [name]: (values, { layer: here, start, count }) => {
      if (here !== layer || position < start || position >= start + count) return;
      if (vector.length !== values.length / count) throw new Refusal("range", "values.length", vector.length, values.length / count);
      values.set(vector, (position - start) * vector.length);
    },
  };
}

// Several hooks as one; at each place they are called in this order.
export function together(...all) {
  const names = PLACES.filter((name) => all.some((hooks) => hooks[name]));
  const call = (name) => (values, place) => all.forEach((hooks) => hooks[name]?.(values, place));
  return Object.fromEntries(names.map((name) => [name, call(name)]));
}

function checked(name) {
  if (!PLACES.includes(name)) throw new Refusal("unknown", name, PLACES.join(", "));
  return name;
}

function inRange(name, number, end) {
  if (!(Number.isInteger(number) && number >= 0 && number < end)) throw new Refusal("range", name, number, `0 … ${end - 1}`);
}
