// The logit lens: what the states inside a model would say if the model ended there.

import { capture, together } from "./hooks.js";
import { hiddenStates, lens } from "./model.js";
import { greedy, logProbability } from "./sample.js";

// {states, best, shares}, each with a row for the embedding and one for every layer: the states of all positions one
// after the other, and for each position the most probable id and its probability. The last row is the model's answer.
export function readings(model, ids, hooks = {}) {
  const seen = capture(["embedding", "block"]);
  hiddenStates(model, ids, { hooks: together(hooks, seen.hooks) });
  const states = [...seen.found.embedding, ...seen.found.block].map(({ values }) => values);
  const said = states.map((row) => firstOf(lens(model, row), ids.length));
  return { states, best: said.map((row) => row.ids), shares: said.map((row) => row.shares) };
}

function firstOf(logits, count) {
  const [ids, shares] = [new Int32Array(count), new Float64Array(count)];
  const size = logits.length / count;
  for (let t = 0; t < count; t++) {
    const here = logits.subarray(t * size, (t + 1) * size);
    ids[t] = greedy(here);
    shares[t] = Math.exp(logProbability(here, ids[t]));
  }
  return { ids, shares };
}
