// Goes on with a text, token by token.

import { Cache, hiddenStates, scores } from "./model.js";
import { Refusal } from "./refusals.js";

// Yields {id, logits} for each new token, until `maxNewTokens` are there, one of `stopIds` came (it is yielded too), or
// the model's context is full.
export function* continuation(model, ids, { choose, maxNewTokens = Infinity, stopIds = [], hooks = {} }) {
  if (!model.causal) throw new Refusal("bothWays");
  if (!(maxNewTokens >= 1)) throw new Refusal("range", "maxNewTokens", maxNewTokens, "≥ 1");
  if (ids.length >= model.maxSeqLen) throw new Refusal("long", ids.length, model.maxSeqLen - 1);
  const cache = new Cache(model, model.maxSeqLen);
  let fed = ids;
  for (let made = 0; made < maxNewTokens && ids.length + made < model.maxSeqLen; made++) {
    const logits = scores(model, hiddenStates(model, fed, { cache, hooks }).subarray(-model.width));
    const id = choose(logits);
    yield { id, logits };
    if (stopIds.includes(id)) return;
    fed = [id];
  }
}
