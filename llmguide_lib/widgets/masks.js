// Mask builder: two texts of a batch, the rules that may be combined, single cells to flip, and what follows.

import { button, change, checkbox, follow, node, slider, store } from "./dom.js";
import { arrows } from "./grid.js";
import { mask, reach } from "./numbers.js";
import { speaker } from "./texts.js";

const TEXTS = {
  title: { en: "Mask builder", zh: "掩码搭建器" },
  causal: { en: "causal", zh: "因果掩码" },
  length: { en: "Words in text {0}", zh: "第 {0} 段的词数" },
  window: { en: "Window", zh: "窗口" },
  everything: { en: "everything", zh: "不限" },
  layers: { en: "Layers", zh: "层数" },
  reset: { en: "Reset", zh: "复原" },
  text: { en: "Text {0}: row = query, column = key", zh: "第 {0} 段：行是查询，列是键" },
  each: { en: "each weight", zh: "每个权重" },
  may: { en: "query {0}, key {1}: may attend", zh: "查询 {0}，键 {1}：可以看" },
  through: {
    en: "query {0}, key {1}: masked, but reached through the layers below",
    zh: "查询 {0}，键 {1}：被遮住，但隔着几层能传到",
  },
  not: { en: "query {0}, key {1}: masked", zh: "查询 {0}，键 {1}：被遮住" },
  empty: {
    en: "Text {0}: query {1} may see no key. Its output is zero.",
    zh: "第 {0} 段：查询 {1} 什么键都看不到，输出为零。",
  },
  leak: {
    en: "Text {0}: query {1} sees key {2}, which comes later: right for a model that reads, wrong for one that predicts the next word.",
    zh: "第 {0} 段：查询 {1} 看得到后面的键 {2}。只做阅读的模型可以这样，预测下一个词的模型就等于偷看答案。",
  },
  filling: {
    en: "Text {0}: query {1} sees key {2}, which is filling.",
    zh: "第 {0} 段：查询 {1} 看得到键 {2}，而那里只是填充。",
  },
  fine: { en: "Nothing leaks, and every query sees something.", zh: "没有泄漏，每个查询都有东西可看。" },
};

const NAMES = ["size", "causal", "lengths", "window", "layers", "flipped"];

function render({ model, el }) {
  const say = speaker(TEXTS, model.get("lang"));
  const size = model.get("size");
  const start = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  const tell = (name) => (value) => store(model, { [name]: value });
  const setLength = (text) => (value) =>
    store(model, { lengths: model.get("lengths").map((old, at) => (at === text ? value : old)) });
  const parts = {
    causal: checkbox(say("causal"), model.get("causal"), tell("causal")),
    lengths: model.get("lengths").map((value, text) =>
      slider(say("length", text + 1), { min: 0, max: size, step: 1, value }, setLength(text)),
    ),
    window: slider(
      say("window"),
      { min: 0, max: size, step: 1, value: model.get("window"), words: (value) => value || say("everything") },
      tell("window"),
    ),
    layers: slider(say("layers"), { min: 1, max: 6, step: 1, value: model.get("layers") }, tell("layers")),
    grids: model.get("lengths").map((_, text) => grid(model, say, text, size)),
    code: node("code"),
    notes: node("ul", { class: "llm-notes", "aria-live": "polite" }),
  };
  const reset = button(say("reset"), () => store(model, start));
  const fields = [parts.causal, ...parts.lengths, parts.window, parts.layers].map((one) => one.element);
  el.replaceChildren(
    node(
      "section",
      { class: "llm-explorer", "aria-label": say("title") },
      node("div", { class: "llm-controls" }, ...fields, reset),
      node("div", { class: "llm-panes" }, ...parts.grids.map((one) => one.table)),
      node("pre", { class: "llm-code" }, parts.code),
      parts.notes,
    ),
  );
  return follow(model, NAMES, () => draw(model, say, parts));
}

// A table of buttons; one of them is in the tab order, the arrow keys move between them.
function grid(model, say, text, size) {
  const numbers = [...Array(size).keys()];
  const head = numbers.map((s) => node("th", { scope: "col" }, s + 1));
  const flip = (t, s) => () => {
    const cell = JSON.stringify([text, t, s]);
    const kept = model.get("flipped").filter((other) => JSON.stringify(other) !== cell);
    store(model, { flipped: kept.length < model.get("flipped").length ? kept : [...kept, [text, t, s]] });
  };
  const cells = numbers.map((t) => numbers.map((s) => change(button("", flip(t, s)), { tabindex: t + s ? -1 : 0 })));
  const rows = cells.map((row, t) =>
    node("tr", {}, node("th", { scope: "row" }, t + 1), ...row.map((cell) => node("td", {}, cell)), node("td")),
  );
  const table = node(
    "table",
    { class: "llm-grid", keydown: arrows(cells) },
    node("caption", {}, say("text", text + 1)),
    node("tr", {}, node("td"), ...head, node("th", { scope: "col", class: "llm-each" }, say("each"))),
    ...rows,
  );
  return { table, cells, weights: rows.map((row) => row.lastChild) };
}

function draw(model, say, parts) {
  const state = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  parts.causal.input.checked = state.causal;
  parts.window.set(state.window);
  parts.layers.set(state.layers);
  const notes = [];
  parts.grids.forEach((one, text) => {
    parts.lengths[text].set(state.lengths[text]);
    const allowed = built(state, text);
    drawGrid(one, say, allowed, reach(allowed, state.layers), state.layers);
    notes.push(...observations(say, text, allowed, state.lengths[text]));
  });
  parts.code.textContent = code(state);
  const shown = notes.length ? notes : [say("fine")];
  parts.notes.replaceChildren(...shown.map((note) => node("li", {}, note)));
}

function built({ size, causal, lengths, window, flipped }, text) {
  const allowed = mask(size, { causal, window, length: lengths[text] });
  for (const [where, t, s] of flipped) if (where === text) allowed[t][s] = !allowed[t][s];
  return allowed;
}

function drawGrid({ cells, weights }, say, allowed, reached, layers) {
  cells.forEach((row, t) => {
    row.forEach((cell, s) => {
      const through = layers > 1 && t !== s && reached[t][s];
      const kind = allowed[t][s] ? "may" : through ? "through" : "not";
      const symbol = { may: "1", through: "◦", not: "·" }[kind];
      change(cell, { class: `llm-${kind}`, "aria-label": say(kind, t + 1, s + 1), "aria-pressed": String(allowed[t][s]) });
      cell.textContent = symbol;
    });
    const seen = allowed[t].filter(Boolean).length;
    weights[t].textContent = seen ? (1 / seen).toFixed(2) : "0";
  });
}

// What is noteworthy about a text's mask, the first of each kind: a query without keys, filling or the future seen.
function observations(say, text, allowed, length) {
  const found = new Map();
  allowed.forEach((row, t) => {
    const filling = row.findIndex((may, s) => may && s >= length);
    const later = row.findIndex((may, s) => may && s > t);
    const [kind, s] = !row.includes(true) ? ["empty", 0] : filling >= 0 ? ["filling", filling] : ["leak", later];
    if (s >= 0 && !found.has(kind)) found.set(kind, say(kind, text + 1, t + 1, s + 1));
  });
  return [...found.values()];
}

// The Python that builds the same mask.
export function code({ size, causal, lengths, window, flipped }) {
  const rules = [`padding_mask(torch.tensor([${lengths.join(", ")}]), ${size})`];
  if (window) rules.unshift(`sliding_window_mask(${size}, ${window})`);
  rules.unshift(causal ? `causal_mask(${size})` : `torch.ones(${size}, ${size}, dtype=torch.bool)`);
  const flips = flipped.map((cell) => `mask[${cell.join(", ")}] ^= True`);
  return [`mask = ${rules.join(" & ")}`, ...flips].join("\n");
}

export default { render };
