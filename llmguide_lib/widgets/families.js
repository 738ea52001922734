// From a weight file to a model: which parts a family has and where its weights stand.

import { gelu, layerNorm, linear, rmsNorm, rotary, same, silu } from "./layers.js";
import { Refusal } from "./refusals.js";

const FAMILIES = { Llama: llama, ModernBERT: modernBert };

// What model.js runs: sizes, an embedding, blocks, and what makes scores of the last states.
export function buildModel({ family, config, tensors }) {
  if (!Object.hasOwn(FAMILIES, family)) throw new Refusal("family", family, Object.keys(FAMILIES).join(", "));
  const take = (name, ...shape) => {
    const found = tensors.get(name);
    if (!found) throw new Refusal("missing", name);
    if (String(found.shape) !== String(shape)) throw new Refusal("shape", name, found.shape.join(", "), shape.join(", "));
    return found;
  };
  const parts = FAMILIES[family](config, take);
  return { family, causal: parts.blocks.every((block) => block.causal), ...parts };
}

function llama(config, take) {
  if (config.rope_scaling) throw new Refusal("setting", "rope_scaling");
  const sizes = sizesOf(config);
  const { vocabSize, width, headWidth } = sizes;
  const rotate = rotary(headWidth, config.rope_theta, sizes.maxSeqLen);
  const norm = (name, size = width) => rmsNorm(take(`${name}.weight`, size), config.norm_eps);
  const embedding = take("token_embedding.weight", vocabSize, width);
  return {
    ...sizes,
    embedding,
    embeddingNorm: same,
    blocks: blocks(config, sizes, take, (at) => ({
      norm1: norm(`${at}.norm1`),
      norm2: norm(`${at}.norm2`),
      queryNorm: config.head_norm ? norm(`${at}.attention.query_norm`, headWidth) : same,
      keyNorm: config.head_norm ? norm(`${at}.attention.key_norm`, headWidth) : same,
      activation: silu,
      rotate,
      causal: true,
      window: Infinity,
    })),
    finalNorm: norm("final_norm"),
    head: linear(config.tied ? embedding : take("lm_head.weight", vocabSize, width)),
  };
}

function modernBert(config, take) {
  const sizes = sizesOf(config);
  const { vocabSize, width, headWidth, maxSeqLen } = sizes;
  const near = { rotate: rotary(headWidth, config.local_rope_theta, maxSeqLen), window: config.window };
  const whole = { rotate: rotary(headWidth, config.rope_theta, maxSeqLen), window: Infinity };
  const norm = (name) => layerNorm(take(`${name}.weight`, width), config.norm_eps);
  const embedding = take("token_embedding.weight", vocabSize, width);
  const transform = linear(take("mlm_transform.0.weight", width, width));
  const transformNorm = norm("mlm_transform.2");
  const scoresOf = linear(embedding, take("lm_head.bias", vocabSize));
  return {
    ...sizes,
    embedding,
    embeddingNorm: norm("embedding_norm"),
    blocks: blocks(config, sizes, take, (at, layer) => ({
      norm1: layer ? norm(`${at}.norm1`) : same, // what the first block reads was normalised just before
      norm2: norm(`${at}.norm2`),
      queryNorm: same,
      keyNorm: same,
      activation: gelu,
      causal: false,
      ...(layer % config.global_every ? near : whole),
    })),
    finalNorm: norm("final_norm"),
    head: (states, count) => scoresOf(transformNorm(transform(states, count).map(gelu)), count),
  };
}

function sizesOf(config) {
  return {
    vocabSize: config.vocab_size,
    maxSeqLen: config.max_seq_len,
    width: config.d_model,
    numHeads: config.num_heads,
    numGroups: config.num_kv_heads ?? config.num_heads,
    headWidth: config.head_dim ?? config.d_model / config.num_heads,
  };
}

// The projections, which all families have, and what is the family's own.
function blocks(config, { width, numHeads, numGroups, headWidth }, take, own) {
  const [inner, asked, told] = [config.d_ff, numHeads * headWidth, numGroups * headWidth];
  return Array.from({ length: config.num_layers }, (_, layer) => {
    const at = `blocks.${layer}`;
    const map = (name, rows, columns) => linear(take(`${at}.${name}.weight`, rows, columns));
    const ask = (name, rows) => {
      const bias = config.attention_bias ? take(`${at}.attention.${name}.bias`, rows) : null;
      return linear(take(`${at}.attention.${name}.weight`, rows, width), bias);
    };
    return {
      query: ask("q_proj", asked),
      key: ask("k_proj", told),
      value: ask("v_proj", told),
      out: map("attention.out_proj", width, asked),
      gate: map("feed_forward.gate_proj", inner, width),
      up: map("feed_forward.up_proj", inner, width),
      down: map("feed_forward.down_proj", width, inner),
      temperature: 1,
      ...own(at, layer),
    };
  });
}
