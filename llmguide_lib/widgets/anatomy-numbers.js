// The arithmetic of the model anatomy. Equal to anatomy.py, and tested so.

// The parts from input to output: name, how many there are, matrices [name, inputs, outputs, kind] and vectors of one.
export function parts(p) {
  const d = p.d_model;
  const f = p.d_ff;
  const norm = [["norm weight", d], ["norm bias", d]].slice(0, p.norm_vectors);
  const tables = [["tokens", p.vocab_size], ["positions", p.positions], ["segments", p.segments]];
  const forward = [...times(p.gated, [["gate_proj", d, f, "map"]]), ["up_proj", d, f, "map"], ["down_proj", f, d, "map"]];
  const kept = tables.filter(([, rows]) => rows).map(([name, rows]) => [name, rows, d, "table"]);
  const found = [
    part("embedding", 1, kept, times(p.embedding_norm, norm)),
    part("norm1", p.num_layers - 1 + p.first_norm, [], norm),
    attention(p),
    part("norm2", p.num_layers, [], norm),
    part("feed_forward", p.num_layers, forward, times(p.bias, [["up_proj bias", f], ["down_proj bias", d]])),
    part("final_norm", p.final_norm, [], norm),
    head(p, norm),
  ];
  return found.filter((one) => one.times);
}

function attention(p) {
  const d = p.d_model;
  const width = p.num_heads * p.head_dim;
  const shared = p.num_kv_heads * p.head_dim;
  const matrices = [["q_proj", d, width, "map"], ["k_proj", d, shared, "map"], ["v_proj", d, shared, "map"], ["out_proj", width, d, "map"]];
  const vectors = [
    ...times(p.qkv_bias, [["q_proj bias", width], ["k_proj bias", shared], ["v_proj bias", shared]]),
    ...times(p.bias, [["out_proj bias", d]]),
    ...times(p.head_norm, [["query_norm weight", p.head_dim], ["key_norm weight", p.head_dim]]),
  ];
  return part("attention", p.num_layers, matrices, vectors);
}

function head(p, norm) {
  const d = p.d_model;
  const matrices = [
    ...times(p.transform, [["transform", d, d, "map"]]),
    ["scores", d, p.vocab_size, p.tied ? "shared" : "map"],
    ...times(p.sentences, [["pooler", d, d, "map"], ["sentences", d, 2, "map"]]),
  ];
  const vectors = [
    ...times(p.transform, [...norm, ["scores bias", p.vocab_size]]),
    ...times(p.transform * p.bias, [["transform bias", d]]),
    ...times(p.sentences, [["pooler bias", d], ["sentences bias", 2]]),
  ];
  return part("head", 1, matrices, vectors);
}

function part(name, number, matrices, vectors) {
  return { name, times: number, matrices, vectors };
}

function times(number, list) {
  return Array(number).fill(list).flat();
}

function sum(numbers) {
  return numbers.reduce((a, b) => a + b, 0);
}

// How many numbers are learned in one part of this kind.
export function parameters({ matrices, vectors }) {
  const own = matrices.filter(([, , , kind]) => kind !== "shared");
  return sum(own.map(([, inputs, outputs]) => inputs * outputs)) + sum(vectors.map(([, length]) => length));
}

// FLOPs of all parts of this kind for one token that sees `context` positions, in the forward pass.
export function flops(p, one, context) {
  const once = ["pooler", "sentences"]; // work once for a text
  const used = one.matrices.filter(([name, , , kind]) => kind !== "table" && !once.includes(name));
  const seen = one.name === "attention" ? 4 * p.num_heads * p.head_dim * keys(p, context) : 0;
  return one.times * sum(used.map(([, inputs, outputs]) => 2 * inputs * outputs)) + seen;
}

// How many positions a token sees, all layers together.
export function keys(p, context) {
  const whole = Math.ceil(p.num_layers / p.global_every);
  return whole * context + (p.num_layers - whole) * Math.min(context, p.span);
}

// How many numbers are kept for each token while generating; an encoder keeps none.
export function cacheNumbers(p) {
  return 2 * p.num_layers * p.num_kv_heads * p.head_dim * p.causal;
}

export function totalParameters(p) {
  return sum(parts(p).map((one) => one.times * parameters(one)));
}

export function totalFlops(p, context) {
  return sum(parts(p).map((one) => flops(p, one, context)));
}

// A number in three digits with its unit: 1234567 is 1.23 M.
export function short(number, units = ["", "K", "M", "G", "T", "P"], step = 1000) {
  let place = 0;
  while (number >= step && place < units.length - 1) {
    number /= step;
    place += 1;
  }
  const digits = number >= 100 ? 0 : number >= 10 ? 1 : 2;
  return `${place ? number.toFixed(digits) : +number.toFixed(2)} ${units[place]}`.trim();
}

export function bytes(number) {
  return short(number, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024);
}
