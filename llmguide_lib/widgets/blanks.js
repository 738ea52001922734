// Blanks in a text: how they are typed, which tokens they hide, and where they are after the text was changed.

export const SIGN = "[MASK]"; // what a reader types, whatever the tokenizer's own mask is called

const escaped = (text) => text.replace(/[^\w\s]/g, "\\$&");

// The text as the tokenizer reads it. A space before a blank is a part of it: tokens begin with the space before them.
export function marked(text, mask) {
  return text.replace(new RegExp(` ?(?:${escaped(SIGN)}|${escaped(mask)})`, "gi"), () => mask);
}

// What the engine is asked to read of a typed text; `mask` is empty for a model that fills no blanks.
export function reading(text, mask) {
  return mask ? { text: marked(text, mask), allowedSpecial: [mask] } : { text };
}

// What the ids spell, the mask as the reader types it.
export function piecesOf({ pieces, special }, mask) {
  return mask ? pieces.with(special[mask], SIGN) : pieces;
}

// The text as the reader sees it, of what the tokenizer has decoded.
export function readable(text, mask) {
  return text.replaceAll(mask, (_, place) => (place ? " " : "") + SIGN);
}

// Where the hidden places of one row of ids are in another one: what both begin and end with keeps its blanks.
export function carriedOver(places, before, after) {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start++;
  let end = 0;
  while (end < shorter - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const shift = after.length - before.length;
  const kept = places.filter((place) => place < start || place >= before.length - end);
  return kept.map((place) => (place < start ? place : place + shift));
}

// What the model reads: the mask at every hidden place.
export function hiding(ids, places, mask) {
  return ids.map((id, place) => (places.includes(place) ? mask : id));
}
