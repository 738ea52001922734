// The arithmetic of positions: plain arrays in, plain arrays out. Equal to llmguide_lib.positions, and tested so.

import { dot } from "./numbers.js";

// Angle per position of each pair, from fast to slow.
export function frequencies(width, theta) {
  return [...Array(width / 2).keys()].map((pair) => theta ** ((-2 * pair) / width));
}

// The vector that is added at a position: sine and cosine take turns.
export function sinusoidal(position, width, theta) {
  return frequencies(width, theta).flatMap((frequency) => [Math.sin(position * frequency), Math.cos(position * frequency)]);
}

// A query or key, turned by its position: number i and number i + width / 2 are a pair.
export function turn(vector, position, theta) {
  const half = vector.length / 2;
  const angles = frequencies(vector.length, theta).map((frequency) => position * frequency);
  const first = angles.map((angle, i) => vector[i] * Math.cos(angle) - vector[i + half] * Math.sin(angle));
  const second = angles.map((angle, i) => vector[i + half] * Math.cos(angle) + vector[i] * Math.sin(angle));
  return [...first, ...second];
}

// The dot product of what stands at position t with what stands at position s.
export function product(kind, query, key, t, s, theta) {
  if (kind === "rotary") return dot(turn(query, t, theta), turn(key, s, theta));
  return dot(sinusoidal(t, query.length, theta), sinusoidal(s, query.length, theta));
}
