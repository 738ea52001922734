// Model anatomy: a drawn model whose parts are buttons, the numbers of the chosen part, and what the whole costs.

import { bytes, cacheNumbers, flops, parameters, parts, short, totalFlops, totalParameters } from "./anatomy-numbers.js";
import { button, change, choice, follow, node, slider, store } from "./dom.js";
import { speaker } from "./texts.js";

const TEXTS = {
  title: { en: "Model anatomy", zh: "模型结构" },
  model: { en: "Model", zh: "模型" },
  context: { en: "Context", zh: "上下文长度" },
  batch: { en: "Texts at once", zh: "同时处理的文本数" },
  bits: { en: "Bits per number", zh: "每个数的位数" },
  drawing: { en: "The model, from input (bottom) to output (top)", zh: "模型，从输入（下）到输出（上）" },
  blocks: { en: "{0} blocks", zh: "{0} 个块" },
  add: { en: "+ residual", zh: "+ 残差" },
  embedding: { en: "Embeddings", zh: "词嵌入" },
  norm1: { en: "Norm 1", zh: "归一化 1" },
  attention: { en: "Attention", zh: "注意力" },
  norm2: { en: "Norm 2", zh: "归一化 2" },
  feed_forward: { en: "Feed-forward", zh: "前馈层" },
  final_norm: { en: "Final norm", zh: "最终归一化" },
  head: { en: "Scores", zh: "输出分数" },
  share: { en: "{0}: {1} of the parameters", zh: "{0}：占参数的 {1}" },
  one: { en: "{0}: one of {1}", zh: "{0}：共 {1} 个，下面是其中一个" },
  only: { en: "{0}: the only one", zh: "{0}：只有这一个" },
  matrix: { en: "weight", zh: "权重" },
  shape: { en: "shape", zh: "形状" },
  numbers: { en: "parameters", zh: "参数" },
  work: { en: "FLOPs per token", zh: "每个词元的 FLOPs" },
  shared: { en: "the embedding's", zh: "与词嵌入共用" },
  lookup: { en: "looked up", zh: "查表" },
  scoresWork: { en: "queries times keys, weights times values", zh: "查询乘键、权重乘值" },
  sum: { en: "together", zh: "合计" },
  all: { en: "all {0}", zh: "{0} 个合计" },
  heads: { en: "{0} query heads, {1} key-value heads, {2} numbers each", zh: "{0} 个查询头，{1} 个键值头，头的维度 {2}" },
  whole: { en: "The whole model", zh: "整个模型" },
  parameters: { en: "Parameters", zh: "参数量" },
  published: { en: "{0} (published: {1})", zh: "{0}（公布的是 {1}）" },
  weights: { en: "Memory of the weights", zh: "权重占用的内存" },
  cache: { en: "Memory of keys and values (KV cache)", zh: "键和值（KV 缓存）占用的内存" },
  none: { en: "none: an encoder keeps nothing", zh: "无：编码器不保存" },
  cacheOf: { en: "{0} ({1} per token of a text)", zh: "{0}（每段文本的每个词元 {1}）" },
  token: { en: "FLOPs for one token", zh: "一个词元的 FLOPs" },
  attended: { en: "{0}, of which looking at {1} positions: {2}", zh: "{0}，其中查看 {1} 个位置占 {2}" },
  texts: { en: "FLOPs to read all texts once", zh: "把所有文本读一遍的 FLOPs" },
  train: { en: "... to train on them (3 times)", zh: "……用它们训练一次（3 倍）" },
};

const NAMES = ["model", "part", "context", "batch", "bits"];
const BITS = [32, 16, 8, 4];

function render({ model, el }) {
  const say = speaker(TEXTS, model.get("lang"));
  const plans = model.get("plans");
  const tell = (name) => (value) => store(model, { [name]: value });
  const doubling = (name, label, most) =>
    slider(say(label), { min: 0, max: most, step: 1, value: Math.log2(model.get(name)), words: (at) => String(2 ** at) }, (at) =>
      tell(name)(2 ** at),
    );
  const choose = (name) => {
    const kept = Math.min(model.get("context"), 2 ** longest(plans[name]));
    const there = parts(plans[name]).some((one) => one.name === model.get("part"));
    store(model, { model: name, context: kept, part: there ? model.get("part") : "attention" });
  };
  const controls = {
    model: choice(say("model"), Object.keys(plans).map((name) => [name, name]), model.get("model"), choose),
    context: doubling("context", "context", longest(plans[model.get("model")])),
    batch: doubling("batch", "batch", 8),
    bits: choice(say("bits"), BITS.map((one) => [one, one]), model.get("bits"), (value) => tell("bits")(Number(value))),
  };
  const panes = { drawing: node("div", { class: "llm-anatomy", role: "group", "aria-label": say("drawing"), keydown: walk }), part: node("div"), whole: node("div") };
  el.replaceChildren(
    node(
      "section",
      { class: "llm-explorer", "aria-label": say("title") },
      node("div", { class: "llm-controls" }, ...Object.values(controls).map((one) => one.element)),
      node("div", { class: "llm-panes" }, panes.drawing, node("div", { class: "llm-told", "aria-live": "polite" }, panes.part, panes.whole)),
    ),
  );
  return follow(model, NAMES, () => draw(model, say, controls, panes));
}

// The largest power of two that the model can read.
function longest(plan) {
  return Math.floor(Math.log2(plan.max_seq_len));
}

// The arrow keys move between the parts.
function walk(event) {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  const all = [...event.currentTarget.querySelectorAll("button")];
  const next = step && all[all.indexOf(event.target) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

function draw(model, say, controls, panes) {
  const state = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  const plan = model.get("plans")[state.model];
  controls.model.input.value = state.model;
  controls.bits.input.value = state.bits;
  controls.batch.set(Math.log2(state.batch));
  change(controls.context.element.querySelector("input"), { max: longest(plan) });
  controls.context.set(Math.log2(state.context));
  const found = parts(plan);
  const focused = panes.drawing.contains(document.activeElement) && document.activeElement.dataset.part;
  panes.drawing.replaceChildren(...drawing(model, say, plan, found, state.part));
  if (focused) panes.drawing.querySelector(`[data-part="${focused}"]`)?.focus();
  const shown = found.find((one) => one.name === state.part) ?? found[0];
  panes.part.replaceChildren(partTable(say, plan, shown, state.context));
  panes.whole.replaceChildren(wholeTable(say, plan, state, model.get("published")[state.model]));
}

// Top to bottom: scores, last norm, a frame with the sublayers of a block, embeddings.
function drawing(model, say, plan, found, chosen) {
  const total = totalParameters(plan);
  const box = (name) => {
    const one = found.find((other) => other.name === name);
    if (!one) return [];
    const share = (one.times * parameters(one)) / total;
    const made = button(say(name), () => store(model, { part: name }));
    made.dataset.part = name;
    const percent = `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;
    return [change(made, { style: `--share: ${share}`, "aria-pressed": String(name === chosen), title: say("share", say(name), percent) })];
  };
  const joined = (sublayer, norm) => {
    const add = node("span", { class: "llm-add" }, say("add"));
    return plan.post_norm ? [...box(norm), add, ...box(sublayer)] : [add, ...box(sublayer), ...box(norm)];
  };
  const block = node(
    "div",
    { class: "llm-block", role: "group", "aria-label": say("blocks", plan.num_layers) },
    node("span", { class: "llm-times" }, `× ${plan.num_layers}`),
    ...joined("feed_forward", "norm2"),
    ...joined("attention", "norm1"),
  );
  return [...box("head"), ...box("final_norm"), block, ...box("embedding")];
}

function partTable(say, plan, one, context) {
  const row = (...cells) => node("tr", {}, node("th", { scope: "row" }, cells[0]), ...cells.slice(1).map((cell) => node("td", {}, cell)));
  const comma = (number) => number.toLocaleString("en-US");
  const work = ([, inputs, outputs, kind]) => (kind === "table" ? say("lookup") : comma(2 * inputs * outputs));
  const rows = one.matrices.map((matrix) => {
    const [name, inputs, outputs, kind] = matrix;
    const size = kind === "shared" ? say("shared") : comma(inputs * outputs);
    return row(name, `${inputs} × ${outputs}`, size, ["pooler", "sentences"].includes(name) ? "" : work(matrix));
  });
  rows.push(...one.vectors.map(([name, length]) => row(name, String(length), comma(length), "")));
  const each = flops(plan, one, context) / one.times;
  if (one.name === "attention") {
    const looked = each - flops(plan, one, 0) / one.times;
    rows.push(row(say("scoresWork"), "", "", comma(Math.round(looked))));
  }
  rows.push(row(say("sum"), "", comma(parameters(one)), comma(Math.round(each))));
  if (one.times > 1) rows.push(row(say("all", one.times), "", comma(one.times * parameters(one)), comma(flops(plan, one, context))));
  const heads = say("heads", plan.num_heads, plan.num_kv_heads, plan.head_dim);
  return node(
    "div",
    {},
    node(
      "table",
      { class: "llm-part" },
      node("caption", {}, say(one.times > 1 ? "one" : "only", say(one.name), one.times)),
      node("tr", {}, ...["matrix", "shape", "numbers", "work"].map((name) => node("th", { scope: "col" }, say(name)))),
      ...rows,
    ),
    ...(one.name === "attention" ? [node("p", { class: "llm-note" }, heads)] : []),
  );
}

function wholeTable(say, plan, { context, batch, bits }, published) {
  const total = totalParameters(plan);
  const perToken = totalFlops(plan, context);
  const looked = (perToken - totalFlops(plan, 0)) / perToken;
  const kept = (cacheNumbers(plan) * bits) / 8;
  const all = perToken * context * batch;
  const exact = total.toLocaleString("en-US");
  const rows = [
    ["parameters", published ? say("published", exact, published) : exact],
    ["weights", bytes((total * bits) / 8)],
    ["cache", kept ? say("cacheOf", bytes(kept * context * batch), bytes(kept)) : say("none")],
    ["token", say("attended", short(perToken), context, `${(100 * looked).toFixed(0)}%`)],
    ["texts", short(all)],
    ["train", short(3 * all)],
  ];
  return node(
    "table",
    { class: "llm-whole" },
    node("caption", {}, say("whole")),
    ...rows.map(([name, value]) => node("tr", {}, node("th", { scope: "row" }, say(name)), node("td", {}, value))),
  );
}

export default { render };
