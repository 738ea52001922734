// Runs a model. Every array on the way is shown to a hook of its name, if there is one, which may look at it or
// change it in place; so looking and intervening need nothing else here (hooks.js has some).
//
// A hook is called as hook(values, place) with place = {layer, start, count, size}: the vectors are those of the
// positions from `start`, `size` positions are there with those in the cache. Their names and shapes:
//   embedding (count, width), final (count, width), and in each layer
//   weights (heads, count, size), heads (count, heads * headWidth), attention, feedForward and block (count, width)

import { dotProduct } from "./layers.js";
import { Refusal } from "./refusals.js";

// Keys and values of the positions read so far.
export class Cache {
  constructor(model, room) {
    const size = room * model.numGroups * model.headWidth;
    this.layers = model.blocks.map(() => ({ keys: new Float32Array(size), values: new Float32Array(size) }));
    this.length = 0;
  }

  // For a text that goes on in several ways.
  copy() {
    const layers = this.layers.map(({ keys, values }) => ({ keys: keys.slice(), values: values.slice() }));
    return Object.assign(Object.create(Cache.prototype), { layers, length: this.length });
  }
}

// The final states of the tokens, one vector each; with a cache they follow those that were read before.
export function hiddenStates(model, ids, { hooks = {}, cache = null } = {}) {
  if (cache && !model.causal) throw new Refusal("bothWays");
  const place = checkedPlace(model, ids, cache?.length ?? 0);
  const memory = cache ?? new Cache(model, ids.length);
  const x = embedded(model, ids);
  hooks.embedding?.(x, place);
  model.blocks.forEach((block, layer) => {
    const here = { ...place, layer };
    add(x, attend(model, block, x, memory.layers[layer], here, hooks));
    add(x, feedForward(block, x, here, hooks));
    hooks.block?.(x, here);
  });
  memory.length = place.size;
  const states = model.finalNorm(x);
  hooks.final?.(states, place);
  return states;
}

// The scores (logits) of every token for these final states.
export function scores(model, states) {
  const logits = model.head(states, states.length / model.width);
  if (logits.some(Number.isNaN)) throw new Refusal("nan");
  return logits;
}

// What a state inside would say if it were the last: the logit lens.
export function lens(model, states) {
  return scores(model, model.finalNorm(states));
}

function checkedPlace(model, ids, start) {
  if (!ids.length) throw new Refusal("empty");
  const size = start + ids.length;
  if (size > model.maxSeqLen) throw new Refusal("long", size, model.maxSeqLen);
  const strange = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < model.vocabSize));
  if (strange !== undefined) throw new Refusal("id", strange, model.vocabSize - 1);
  return { start, count: ids.length, size };
}

function embedded({ embedding, embeddingNorm, width }, ids) {
  const x = new Float32Array(ids.length * width);
  ids.forEach((id, t) => x.set(embedding.values.subarray(id * width, (id + 1) * width), t * width));
  return embeddingNorm(x);
}

function attend(model, block, x, { keys, values }, place, hooks) {
  const { start, count } = place;
  const read = block.norm1(x);
  const query = block.queryNorm(block.query(read, count));
  const key = block.keyNorm(block.key(read, count));
  block.rotate(query, count, start);
  block.rotate(key, count, start);
  const width = key.length / count;
  keys.set(key, start * width);
  values.set(block.value(read, count), start * width);
  const weights = attentionWeights(model, block, query, keys, place);
  hooks.weights?.(weights, place);
  const heads = mixtures(model, weights, values, place);
  hooks.heads?.(heads, place);
  const added = block.out(heads, count);
  hooks.attention?.(added, place);
  return added;
}

// Softmax of the scaled products of every query with the keys that it may see; the others keep weight 0.
function attentionWeights(model, block, query, keys, { start, count, size }) {
  const { numHeads, numGroups, headWidth } = model;
  const { window, causal, temperature } = block;
  const weights = new Float32Array(numHeads * count * size);
  const scale = 1 / (Math.sqrt(headWidth) * temperature);
  for (let head = 0; head < numHeads; head++) {
    const group = Math.floor((head * numGroups) / numHeads);
    for (let t = 0; t < count; t++) {
      const from = Math.max(0, start + t - window + 1);
      const to = Math.min(causal ? start + t + 1 : size, start + t + window);
      const row = weights.subarray((head * count + t) * size + from, (head * count + t) * size + to);
      const asked = (t * numHeads + head) * headWidth;
      for (let s = 0; s < row.length; s++) {
        row[s] = scale * dotProduct(query, asked, keys, ((from + s) * numGroups + group) * headWidth, headWidth);
      }
      softmaxInPlace(row);
    }
  }
  return weights;
}

export function softmaxInPlace(row) {
  let [highest, sum] = [-Infinity, 0];
  for (let i = 0; i < row.length; i++) highest = Math.max(highest, row[i]);
  for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - highest);
  for (let i = 0; i < row.length; i++) row[i] /= sum;
}

// In each head the mean of the values by their weights.
function mixtures({ numHeads, numGroups, headWidth }, weights, values, { count, size }) {
  const heads = new Float32Array(count * numHeads * headWidth);
  const sums = new Float64Array(headWidth);
  for (let head = 0; head < numHeads; head++) {
    const group = Math.floor((head * numGroups) / numHeads);
    for (let t = 0; t < count; t++) {
      const row = (head * count + t) * size;
      sums.fill(0);
      for (let s = 0; s < size; s++) {
        const weight = weights[row + s];
        const value = (s * numGroups + group) * headWidth;
        if (weight) for (let i = 0; i < headWidth; i++) sums[i] += weight * values[value + i];
      }
      heads.set(sums, (t * numHeads + head) * headWidth);
    }
  }
  return heads;
}

function feedForward(block, x, place, hooks) {
  const read = block.norm2(x);
  const gate = block.gate(read, place.count);
  const up = block.up(read, place.count);
  for (let i = 0; i < up.length; i++) up[i] *= block.activation(gate[i]);
  const added = block.down(up, place.count);
  hooks.feedForward?.(added, place);
  return added;
}

function add(x, added) {
  for (let i = 0; i < x.length; i++) x[i] += added[i];
}
