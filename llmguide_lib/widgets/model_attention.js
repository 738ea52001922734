// Attention of a model: every head's map of the typed text, one of them large, and what another mask or temperature
// does to the weights and to the prediction.

import { bars, percent } from "./bars.js";
import { carriedOver, piecesOf, reading } from "./blanks.js";
import { chips, visible } from "./chips.js";
import { button, change, checkbox, choice, follow, node, slider, store, textBox } from "./dom.js";
import { arrows, enter } from "./grid.js";
import { largeMap, paint } from "./map.js";
import { highest, moved } from "./numbers.js";
import { distribution } from "./sample.js";
import { modelExplorer, newest } from "./starter.js";

const TEXTS = {
  title: { en: "Attention of a model", zh: "模型的注意力" },
  text: { en: "Text", zh: "文本" },
  mask: { en: "A token may see", zh: "每个词元能看到" },
  trainedDecoder: { en: "what came before, as trained", zh: "它前面的（训练时的掩码）" },
  trainedEncoder: { en: "as trained: everything, in local layers what is near", zh: "训练时的掩码：全部，局部层只看附近" },
  everything: { en: "everything", zh: "全部" },
  past: { en: "only what came before", zh: "只有它前面的" },
  near: { en: "of that only what is near", zh: "其中只有附近的" },
  window: { en: "Near: less than", zh: "附近：距离小于" },
  temperature: { en: "Attention's temperature", zh: "注意力的温度" },
  only: { en: "only in layer {0}", zh: "只改第 {0} 层" },
  reset: { en: "Reset", zh: "复原" },
  sharper: { en: "{0}: sharper", zh: "{0}：更集中" },
  flatter: { en: "{0}: flatter", zh: "{0}：更平均" },
  heads: { en: "Choose a head: row = layer, column = head, numbered from 0", zh: "选一个头：行是层，列是头，从 0 编号" },
  head: { en: "layer {0}, head {1}", zh: "第 {0} 层第 {1} 个头" },
  map: {
    en: "Layer {0}, head {1}: row = who looks, column = at whom. The weights of a row sum to 1; shades follow their square roots.",
    zh: "第 {0} 层第 {1} 个头：行是看的词元，列是被看的词元，每行权重之和为 1，深浅按权重的平方根。",
  },
  point: {
    en: "Point at a cell to read its weight. Click a row, or a token below, to choose who looks.",
    zh: "指向格子可读权重；点一行，或点下面的词元，选由谁来看。",
  },
  weight: { en: "“{0}” gives “{1}” the weight {2}.", zh: "“{0}”给“{1}”的权重是 {2}。" },
  tokens: {
    en: "Tokens: choose the one that looks; the others are shaded by the weight that it gives them",
    zh: "词元：选一个来看，其余按它给的权重着色",
  },
  looks: { en: "“{0}” looks at", zh: "“{0}”看向" },
  token: { en: "token (position, from 0)", zh: "词元（位置，从 0 起）" },
  share: { en: "weight", zh: "权重" },
  after: { en: "The model expects after “{0}”", zh: "模型认为“{0}”后面是" },
  at: { en: "The model expects in place of “{0}”", zh: "模型认为“{0}”处是" },
  candidate: { en: "token", zh: "词元" },
  before: { en: "as trained", zh: "训练时" },
  now: { en: "now", zh: "现在" },
  same: { en: "Attention is as trained. Change what a token may see, or the temperature.", zh: "现在是训练时的注意力。试着改变能看到的范围或温度。" },
  changed: {
    en: "With this attention {0} of the probability moved to other tokens.",
    zh: "注意力这样一改，{0} 的概率移到了别的词元上。",
  },
};
const SHOWN = 8; // weights that are listed
const CANDIDATES = 6;
const SETTINGS = ["mask", "window", "temperature", "only"];
const TRAINED = { mask: "trained", temperature: 1, only: -1 };

function still(model, say) {
  const { pieces, weights, asking, causal, rows } = model.get("still");
  const map = largeMap({ choose: () => {}, point: () => {} });
  const [layer, head] = [model.get("layer"), model.get("head")];
  map.show({ weights: weights.flat(), pieces, asking, label: say("map", layer, head) });
  const table = bars(say("token"), [say("candidate"), say("before")]);
  table.title.textContent = expectation({ say, pieces, asking, causal });
  table.show(rows.map(([piece, share]) => ({ piece, shares: [share] })));
  return node("div", {}, node("p", { class: "llm-note" }, say("map", layer, head)), map.element, table.element);
}

function expectation({ say, pieces, asking, causal }) {
  return say(causal ? "after" : "at", visible(pieces[asking]));
}

function build({ model, say, engine, attempt }) {
  // before: as trained; both {logits, weights}; pointed: the cell {t, s} of the large map under the pointer
  const state = { read: null, ids: [], before: null, now: null, pointed: null };
  const mask = model.get("mask_token");
  const about = { ...engine.about, pieces: piecesOf(engine.about, mask) };
  const parts = makeParts({ model, say, about, state, refresh: () => refresh() });
  const draw = () => state.now && drawState(state, { model, say, about, parts });

  const forward = async (request) => {
    const { ids, logits, found } = await engine.ask("forward", { ...request, places: ["weights"] }).result;
    return { ids, logits, weights: found.weights.map(({ values }) => values) };
  };
  const refresh = newest(
    attempt(async () => {
      const text = parts.text.value;
      if (state.read !== text) {
        state.read = state.now = null;
        const before = await forward(reading(text, mask)).catch((error) => {
          parts.clear();
          throw error;
        });
        const asking = carriedAsking(model, state.ids, { about, ids: before.ids });
        Object.assign(state, { read: text, ids: before.ids, before, pointed: null });
        store(model, { asking });
      }
      const attention = attentionOf(model);
      state.now = attention ? await forward({ ids: state.ids, attention }) : state.before;
      draw();
    }),
  );
  const unfollow = [
    follow(model, SETTINGS, () => {
      parts.settings(attentionOf(model));
      refresh();
    }),
    follow(model, ["layer", "head", "asking"], () => {
      parts.settings(attentionOf(model));
      draw();
    }),
  ];
  return { element: parts.element, stop: () => unfollow.forEach((stop) => stop()) };
}

// What attending.js takes; null where everything is as trained.
function attentionOf(model) {
  const [mask, window, temperature, only] = SETTINGS.map((name) => model.get(name));
  return mask === "trained" && temperature === 1 ? null : { mask, window, temperature, layer: only < 0 ? null : only };
}

// The position that is looked from. Before the reader has chosen one: an encoder's first blank, otherwise the last.
function askingOf(model, ids, { special }) {
  const asking = model.get("asking");
  if (asking >= 0) return Math.min(asking, ids.length - 1);
  const place = ids.indexOf(special[model.get("mask_token")]);
  return place < 0 ? ids.length - 1 : place;
}

// The same in another text: a token that the reader chose stays chosen while it stands there.
function carriedAsking(model, ids, next) {
  const asking = model.get("asking");
  if (asking < 0 || !ids.length) return asking;
  return carriedOver([askingOf(model, ids, next.about)], ids, next.ids)[0] ?? -1;
}

function makeParts({ model, say, about, state, refresh }) {
  const { causal, numLayers, numHeads } = about;
  const text = textBox(model, say("text"), 2, refresh);
  const ask = (t) => store(model, { asking: causal && t === state.ids.length - 1 ? -1 : t }); // the last stays the last
  const names = (place) => visible(about.pieces[state.ids[place]]);
  const pointed = node("p", { class: "llm-note" }, say("point"));
  const point = (cell) => {
    state.pointed = cell;
    if (state.now) sayPointed();
  };
  const sayPointed = () => {
    if (!state.pointed) return (pointed.textContent = say("point"));
    const { t, s } = state.pointed;
    const weight = shownWeights(model, state)[t * state.ids.length + s];
    pointed.textContent = say("weight", names(t), names(s), weight.toFixed(3));
  };
  const parts = {
    text,
    controls: makeControls(model, say, causal),
    grid: headGrid(say, { numLayers, numHeads }, (layer, head) => {
      store(model, { layer, head, ...(model.get("only") < 0 ? {} : { only: layer }) });
    }),
    caption: node("p", { class: "llm-note" }),
    map: largeMap({ choose: ask, point }),
    chips: chips(say("tokens"), ask),
    looks: bars("", [say("token"), say("share")]),
    expects: bars("", [say("candidate"), say("before"), say("now")]),
    note: node("p", { class: "llm-note", role: "status" }),
  };
  parts.chips.element.classList.add("llm-tinted");
  parts.settings = parts.controls.set;
  parts.sayPointed = sayPointed;
  const column = (...inside) => node("div", { class: "llm-column" }, ...inside);
  const open = column(parts.caption, parts.map.element, pointed);
  const expects = column(parts.expects.element, parts.note);
  const tables = node("div", { class: "llm-panes" }, column(parts.looks.element), expects);
  const shown = node("div", {}, node("div", { class: "llm-panes" }, parts.grid.element, open), parts.chips.element, tables);
  parts.clear = () => (shown.hidden = true);
  parts.open = () => (shown.hidden = false);
  parts.clear();
  parts.element = node("div", {}, text, parts.controls.element, shown);
  return parts;
}

function temperatureIn(say, value) {
  const written = value.toFixed(2);
  return value === 1 ? written : say(value < 1 ? "sharper" : "flatter", written);
}

function makeControls(model, say, causal) {
  const options = causal ? ["trained", "everything", "near"] : ["trained", "everything", "past", "near"];
  const named = (name) => (name === "trained" ? say(causal ? "trainedDecoder" : "trainedEncoder") : say(name));
  const mask = choice(say("mask"), options.map((name) => [name, named(name)]), "trained", (value) => store(model, { mask: value }));
  const window = slider(say("window"), { min: 1, max: 16, step: 1, value: 3 }, (value) => store(model, { window: value }));
  const temperature = slider(
    say("temperature"),
    { min: -1, max: 1, step: 0.05, value: 0, words: (log) => temperatureIn(say, 10 ** log) },
    (log) => store(model, { temperature: log ? 10 ** log : 1 }),
  );
  const only = checkbox("", false, (checked) => store(model, { only: checked ? model.get("layer") : -1 }));
  const caption = node("span");
  only.element.append(caption);
  const reset = button(say("reset"), () => store(model, TRAINED));
  const fields = [mask, window, temperature, only].map((one) => one.element);
  const set = (attention) => {
    mask.input.value = model.get("mask");
    window.set(model.get("window"));
    window.element.hidden = model.get("mask") !== "near";
    temperature.set(Math.log10(model.get("temperature")));
    only.input.checked = model.get("only") >= 0;
    caption.textContent = say("only", model.get("only") >= 0 ? model.get("only") : model.get("layer"));
    reset.disabled = !attention;
  };
  return { element: node("div", { class: "llm-controls llm-after" }, ...fields, reset), set };
}

// A table of buttons with a small map each.
function headGrid(say, { numLayers, numHeads }, choose) {
  const numbers = (count) => [...Array(count).keys()];
  const cells = numbers(numLayers).map((layer) =>
    numbers(numHeads).map((head) => {
      const cell = node("button", { type: "button", "aria-label": say("head", layer, head), tabindex: -1 });
      cell.append(node("canvas"));
      cell.addEventListener("click", () => choose(layer, head));
      return cell;
    }),
  );
  const head = node("tr", {}, node("td"), ...numbers(numHeads).map((one) => node("th", { scope: "col" }, one)));
  const rows = cells.map((row, layer) =>
    node("tr", {}, node("th", { scope: "row" }, layer), ...row.map((cell) => node("td", {}, cell))),
  );
  const table = node("table", { class: "llm-heads", keydown: arrows(cells, choose) }, node("caption", {}, say("heads")), head, ...rows);
  return { element: node("div", { class: "llm-wide" }, table), cells };
}

function shownWeights(model, { now, ids }) {
  const area = ids.length ** 2;
  return now.weights[model.get("layer")].subarray(model.get("head") * area, (model.get("head") + 1) * area);
}

function drawState(state, { model, say, about, parts }) {
  const { ids, before, now } = state;
  const { pieces, causal } = about;
  const [layer, head, size] = [model.get("layer"), model.get("head"), ids.length];
  const asking = askingOf(model, ids, about);
  const words = ids.map((id) => pieces[id]);
  const weights = shownWeights(model, state);
  const row = weights.subarray(asking * size, (asking + 1) * size);
  parts.open();
  if (parts.painted !== now) paintHeads(parts.grid.cells, now.weights, size);
  parts.painted = now;
  markHead(parts.grid.cells, layer, head);
  parts.caption.textContent = say("map", layer, head);
  parts.sayPointed();
  parts.map.show({ weights, pieces: words, asking, label: say("map", layer, head) });
  parts.chips.show(words, asking, (place) => ({ style: `--weight: ${row[place].toFixed(3)}` }));
  parts.looks.title.textContent = say("looks", visible(words[asking]));
  const seen = highest(row, SHOWN).filter((place) => row[place] > 0);
  parts.looks.show(
    seen.map((place) => ({ piece: words[place], place, shares: [row[place]] })),
    ({ piece, place }) => `${visible(piece)} (${place})`,
  );
  parts.expects.title.textContent = expectation({ say, pieces: words, asking, causal });
  const [own, changed] = [before, now].map(({ logits }) => distributionAt(logits, asking, pieces.length));
  const listed = [...new Set([...highest(own, CANDIDATES), ...highest(changed, CANDIDATES / 2)])];
  parts.expects.show(listed.map((id) => ({ piece: pieces[id], shares: [own[id], changed[id]] })));
  parts.note.textContent = now === before ? say("same") : say("changed", percent(moved(own, changed)));
}

function distributionAt(logits, place, size) {
  return distribution(logits.subarray(place * size, (place + 1) * size));
}

function paintHeads(cells, weights, size) {
  const area = size ** 2;
  cells.forEach((row, layer) =>
    row.forEach((cell, head) => paint(cell.firstChild, weights[layer].subarray(head * area, (head + 1) * area), size)),
  );
}

function markHead(cells, layer, head) {
  enter(cells, layer, head);
  for (const cell of cells.flat()) change(cell, { "aria-pressed": String(cell === cells[layer][head]) });
}

export default modelExplorer(TEXTS, { build, still });
