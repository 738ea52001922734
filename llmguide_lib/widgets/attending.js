// A model that attends otherwise than it was trained to. Hooks could not do it: they see weights only after softmax has
// divided the attention among what may be seen.

import { Refusal } from "./refusals.js";

// What a position may see, by name: changes to a block. "near" is what is less than `window` positions away.
const MASKS = {
  trained: () => ({}),
  everything: () => ({ causal: false, window: Infinity }),
  past: () => ({ causal: true }),
  near: (block, window) => ({ window: Math.min(block.window, window) }),
};

// The model with another mask, and scores divided by `temperature` before softmax, in one layer or (null) in all.
export function attending(model, { mask = "trained", window = Infinity, temperature = 1, layer = null } = {}) {
  const { blocks } = model;
  if (!Object.hasOwn(MASKS, mask)) throw new Refusal("unknown", mask, Object.keys(MASKS).join(", "));
  const rules = [
    ["window", window, window === Infinity || (Number.isInteger(window) && window >= 1), "1, 2, …"],
    ["temperature", temperature, temperature > 0 && temperature < Infinity, "> 0"],
    ["layer", layer, layer === null || Object.hasOwn(blocks, layer), `0 … ${blocks.length - 1}`],
  ];
  for (const [name, value, fine, rule] of rules) if (!fine) throw new Refusal("range", name, value, rule);
  const changed = (block) => ({ ...block, ...MASKS[mask](block, window), temperature });
  return { ...model, blocks: blocks.map((block, at) => (layer === null || layer === at ? changed(block) : block)) };
}
