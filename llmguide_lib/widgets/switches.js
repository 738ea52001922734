// Which parts of a model are off: pairs [layer, head] or [layer, "feed_forward"], as Python stores them.

export const FEED_FORWARD = "feed_forward";

export function partsOf(numHeads) {
  return [...Array(numHeads).keys(), FEED_FORWARD];
}

// What is off after one part, or with `part` null a whole layer, was switched. A layer goes off unless all of it is.
export function switched(off, layer, part, numHeads) {
  const same = (one) => one[0] === layer && (part === null || one[1] === part);
  const kept = off.filter((one) => !same(one));
  const asked = part === null ? partsOf(numHeads) : [part];
  return off.length - kept.length === asked.length ? kept : [...kept, ...asked.map((one) => [layer, one])];
}

// The same as the engine takes it.
export function interventions(off) {
  return off.map(([layer, part]) =>
    part === FEED_FORWARD ? { kind: "feedForward", layer } : { kind: "head", layer, head: part },
  );
}
