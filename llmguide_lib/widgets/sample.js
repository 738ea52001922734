// Chooses the next token from scores (logits): what llmguide_lib.generation does, in the same order of filters.

import { softmaxInPlace } from "./model.js";
import { Refusal } from "./refusals.js";

// A function from logits to an id. Temperature 0 takes the most probable token; the seed makes draws repeatable.
export function sampler({ temperature = 1, topK = Infinity, topP = 1, minP = 0, seed = 0 } = {}) {
  const rules = [
    ["temperature", temperature, temperature >= 0 && temperature < Infinity, "≥ 0"],
    ["topK", topK, topK >= 1 && (topK === Infinity || Number.isInteger(topK)), "1, 2, …"],
    ["topP", topP, topP > 0 && topP <= 1, "> 0, ≤ 1"],
    ["minP", minP, minP >= 0 && minP <= 1, "≥ 0, ≤ 1"],
  ];
  for (const [name, value, fine, rule] of rules) if (!fine) throw new Refusal("range", name, value, rule);
  if (temperature === 0) return greedy;
  const random = randomNumbers(seed);
  return (logits) => draw(distribution(logits, { temperature, topK, topP, minP }), random());
}

export function greedy(logits) {
  return logits.reduce((best, value, id) => (value > logits[best] ? id : best), 0);
}

// The natural logarithm of a token's probability, in nats; it stays finite where the probability itself is 0 in float64.
export function logProbability(logits, id) {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = logits.reduce((total, value) => total + Math.exp(value - top), 0);
  return logits[id] - top - Math.log(sum);
}

// The probabilities that the filters leave.
export function distribution(logits, { temperature = 1, topK = Infinity, topP = 1, minP = 0 } = {}) {
  const probabilities = Float64Array.from(logits, (value) => value / temperature);
  softmaxInPlace(probabilities);
  if (topK < probabilities.length) {
    const lowest = probabilities.toSorted().at(-topK); // and those as probable as the last of them
    keep(probabilities, (value) => value >= lowest);
  }
  if (topP < 1) keepNucleus(probabilities, topP);
  const least = minP * probabilities.reduce((a, b) => Math.max(a, b), 0);
  return keep(probabilities, (value) => value >= least);
}

function keepNucleus(probabilities, topP) {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  let before = 0;
  const kept = new Set(order.filter((id) => (before += probabilities[id]) - probabilities[id] < topP));
  keep(probabilities, (_, id) => kept.has(id));
}

// Sets to 0 what is not kept and makes the rest sum to 1.
function keep(probabilities, may) {
  const kept = probabilities.map((value, id) => (may(value, id) ? value : 0));
  const sum = kept.reduce((a, b) => a + b, 0);
  probabilities.set(kept.map((value) => value / sum));
  return probabilities;
}

function draw(probabilities, random) {
  let left = random;
  const found = probabilities.findIndex((probability) => (left -= probability) < 0);
  return found >= 0 ? found : probabilities.findLastIndex((probability) => probability > 0); // rounding left something
}

// Numbers from 0 to 1. Source: Marsaglia 2003, "Xorshift RNGs", section 4, with four words of state.
export function randomNumbers(seed) {
  const state = Uint32Array.of(seed ^ 0x9e3779b9, 362436069, 521288629, 88675123);
  const next = () => {
    const mixed = state[0] ^ (state[0] << 11);
    state.copyWithin(0, 1);
    state[3] = state[3] ^ (state[3] >>> 19) ^ mixed ^ (mixed >>> 8);
    return state[3] / 2 ** 32;
  };
  for (let round = 0; round < 16; round++) next(); // neighbouring seeds begin alike
  return next;
}
