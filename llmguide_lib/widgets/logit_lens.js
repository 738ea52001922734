// Logit lens: what each layer would say after each token, and what changes when heads or layers are switched off.

import { bars } from "./bars.js";
import { carriedOver, piecesOf, reading } from "./blanks.js";
import { cellTable } from "./cells.js";
import { visible } from "./chips.js";
import { button, change, node, store, textBox } from "./dom.js";
import { lensCell, rowName, showState, showSwitches, sideOf } from "./lens_view.js";
import { logProbability } from "./sample.js";
import { modelExplorer, newest } from "./starter.js";
import { stoppable } from "./stoppable.js";
import { interventions, partsOf, switched } from "./switches.js";

const TEXTS = {
  title: { en: "Logit lens and head switch", zh: "logit 透镜与注意力头开关" },
  text: { en: "Text", zh: "文本" },
  lens_after: {
    en: "What would come after each token if the model ended at this row.",
    zh: "如果模型到这一行就结束，它认为每个词元后面是什么。",
  },
  lens_at: {
    en: "What would stand at each place if the model ended at this row. [MASK] in the text is a blank.",
    zh: "如果模型到这一行就结束，它认为每个位置上是什么。文本里的 [MASK] 是空位。",
  },
  choose: { en: " Choose a cell to see more of it.", zh: "点一个格子看详情。" },
  moved: { en: " Parts switched off: {0}. Underlined: not what it is with all parts on.", zh: "现在关掉了 {0} 个部分。有下划线的：与全部打开时不同。" },
  embedding: { en: "embedding", zh: "嵌入" },
  layer: { en: "layer {0}", zh: "第 {0} 层" },
  answer: { en: "layer {0}: answer", zh: "第 {0} 层：答案" },
  cell_after: { en: "{0}, after “{1}”: “{2}”, {3}", zh: "{0}，“{1}”之后：“{2}”，{3}" },
  cell_at: { en: "{0}, at “{1}”: “{2}”, {3}", zh: "{0}，“{1}”处：“{2}”，{3}" },
  said_after: {
    en: "{0}, after “{1}”: the most probable tokens. Choose one to follow it.",
    zh: "{0}，“{1}”之后最可能的词元。点一个就跟踪它。",
  },
  said_at: {
    en: "{0}, at “{1}”: the most probable tokens. Choose one to follow it.",
    zh: "{0}，“{1}”处最可能的词元。点一个就跟踪它。",
  },
  real_after: { en: "{0} (comes next in the text)", zh: "{0}（文中的下一个）" },
  real_at: { en: "{0} (stands in the text)", zh: "{0}（文中就是它）" },
  token: { en: "token", zh: "词元" },
  model: { en: "model", zh: "模型" },
  whole: { en: "all parts on", zh: "全部打开" },
  without: { en: "some off", zh: "关掉一些" },
  watch: { en: "follow “{0}”", zh: "跟踪“{0}”" },
  now: {
    en: "“{0}” has {1}, a log probability of {2} nats. Switch parts off below and see what becomes of it.",
    zh: "“{0}”的概率是 {1}，对数概率是 {2} 奈特。在下面关掉一些部分，看它怎么变。",
  },
  before: {
    en: "“{0}”: from {1} to {2}; its log probability changes by {3} nats.",
    zh: "“{0}”：从 {1} 变到 {2}，对数概率变化 {3} 奈特。",
  },
  switches: {
    en: "Parts of the model. Choose one to switch it off: it then adds nothing to the residual stream. A layer's name switches the whole layer.",
    zh: "模型的各个部分：点一个就把它关掉，它便不再往残差流里加任何东西；再点一次打开。点层名，整层一起开关。",
  },
  head: { en: "head {0}", zh: "头 {0}" },
  feed: { en: "feed-forward", zh: "前馈" },
  on: { en: "on", zh: "开" },
  off: { en: "off", zh: "关" },
  part: { en: "{0}, {1}: {2}", zh: "{0}，{1}：{2}" },
  effect: { en: "{0}, {1}: {2}; alone off {3} nats", zh: "{0}，{1}：{2}；单独关掉时 {3} 奈特" },
  toggle: { en: "all of {0}: {1}", zh: "整个{0}：{1}" },
  reset: { en: "Switch all on", zh: "全部打开" },
  measure: { en: "Measure every part", zh: "逐个测量" },
  stop: { en: "Stop", zh: "停止" },
  measured_after: {
    en: "In each cell: by how many nats the log probability of “{0}” after “{1}” in the model's answer changes when only this part is off. Blue parts speak for the token, orange ones against it; full colour means 1 nat or more.",
    zh: "每个格子：只关掉这一部分时，在模型的答案里，“{1}”之后“{0}”的对数概率变化多少奈特。蓝色的部分支持这个词元，橙色的反对；颜色最深表示 1 奈特以上。",
  },
  measured_at: {
    en: "In each cell: by how many nats the log probability of “{0}” at “{1}” in the model's answer changes when only this part is off. Blue parts speak for the token, orange ones against it; full colour means 1 nat or more.",
    zh: "每个格子：只关掉这一部分时，在模型的答案里，“{1}”处“{0}”的对数概率变化多少奈特。蓝色的部分支持这个词元，橙色的反对；颜色最深表示 1 奈特以上。",
  },
};

function still(model, say) {
  const { pieces, layers } = model.get("still");
  const title = say(`lens_${sideOf(model)}`);
  const table = cellTable(() => {});
  table.entitle(title);
  const rows = layers.map((cells, row) => {
    const name = rowName(row, layers.length, say);
    return { name, cells: cells.map(([piece, share], place) => lensCell({ name, token: pieces[place], piece, share }, model, say)) };
  });
  table.show(pieces.map(visible), rows);
  for (const cell of table.scroll.querySelectorAll("button")) cell.disabled = true;
  change(table.scroll, { tabindex: 0, role: "group", "aria-label": title }); // so that keys can scroll it
  return table.element;
}

function build({ model, say, engine, attempt }) {
  const { numHeads, numLayers } = engine.about;
  const mask = model.get("mask_token");
  const pieces = piecesOf(engine.about, mask);
  // What is there: plain and changed are readings, the latter null while all is on; shown are the logits of the cell
  // that is chosen, with and without what is off. What is wanted: text, model.get("off"), row and place.
  const state = { text: null, off: "[]", plain: null, changed: null, shown: null, watched: null, effects: null };
  const chosen = { row: numLayers, place: Infinity };
  const asked = asking(engine, mask);
  const parts = makeParts(model, say, {
    type: () => update(),
    cell: (row, place) => {
      if (place !== chosen.place) state.watched = state.effects = null;
      Object.assign(chosen, { row, place });
      update();
    },
    watch: (id) => {
      if (id !== state.watched) state.effects = null;
      state.watched = id;
      draw();
    },
    part: (layer, at) => toggle(switched(model.get("off"), layer, at < 0 ? null : partsOf(numHeads)[at], numHeads)),
    reset: () => toggle([]),
    measure: attempt(() => state.shown && parts.work.run(measure)),
  });
  const context = { model, say, pieces, numHeads, numLayers, parts, chosen };
  const draw = () => state.shown && showState(state, context);
  const toggle = (off) => {
    store(model, { off });
    showSwitches(state, context);
    update();
  };

  // Brings what is there up to what is wanted.
  const update = newest(
    attempt(async () => {
      const [text, off] = [parts.text.value, model.get("off")];
      try {
        if (state.text !== text) arrived(text, await asked.plain(text));
        if (state.off !== JSON.stringify(off)) {
          state.changed = off.length ? await asked.without(state.plain.ids, off) : null;
          state.off = JSON.stringify(off);
        }
        state.shown = {
          before: await asked.cell(state.plain, chosen),
          after: state.changed && (await asked.cell(state.changed, chosen)),
        };
      } catch (error) {
        Object.assign(state, { text: null, shown: null });
        parts.reveal(false);
        throw error;
      }
      state.watched ??= state.plain.best[numLayers][chosen.place];
      draw();
    }),
  );
  // What is off are parts of the model and stays; what points into the text goes with what it points at.
  const arrived = (text, plain) => {
    chosen.place = placeIn(plain.ids);
    Object.assign(state, { text, plain, changed: null, off: "[]", watched: null, effects: null });
  };
  // The last token stays the last, another one is chosen while it stands in the text. Otherwise, and at first, a blank
  // is, or else the last.
  const placeIn = (ids) => {
    const last = ids.length - 1;
    const blank = ids.indexOf(engine.about.special[mask]);
    const first = blank < 0 ? last : blank;
    if (!state.plain) return first;
    if (chosen.place === state.plain.ids.length - 1) return last;
    return carriedOver([chosen.place], state.plain.ids, ids)[0] ?? first;
  };
  const measure = (going) => measured(state, { asked, context, going });

  update();
  return { element: parts.element, stop: parts.work.end };
}

// Switches each part off by itself and keeps what becomes of the followed token in the model's answer.
async function measured(state, { asked, context, going }) {
  const { numHeads, numLayers, chosen } = context;
  const { watched, plain } = state;
  const effects = (state.effects = []);
  const answer = (off) => asked.answer(plain.ids, off, chosen.place, watched);
  const whole = await answer([]);
  for (let layer = 0; layer < numLayers; layer++) {
    for (const part of partsOf(numHeads)) {
      const effect = (await answer([[layer, part]])) - whole;
      if (!going() || state.effects !== effects) return;
      effects.push(effect);
      showSwitches(state, context);
    }
  }
}

// What the worker is asked for.
function asking(engine, mask) {
  const ask = (job, request) => engine.ask(job, request).result;
  return {
    plain: (text) => ask("lenses", reading(text, mask)),
    without: (ids, off) => ask("lenses", { ids, interventions: interventions(off) }),
    // the logits of one cell
    cell: async ({ ids, states }, { row, place }) => {
      const width = states[row].length / ids.length;
      return (await ask("say", { states: states[row].slice(place * width, (place + 1) * width) })).logits;
    },
    // the log probability of a token in the model's answer at one place
    answer: async (ids, off, place, id) => {
      const { logits } = await ask("forward", { ids, interventions: interventions(off) });
      const size = logits.length / ids.length;
      return logProbability(logits.subarray(place * size, (place + 1) * size), id);
    },
  };
}

function makeParts(model, say, on) {
  const text = textBox(model, say("text"), 3, on.type);
  const [measure, reset] = [button(say("measure"), on.measure), button(say("reset"), on.reset)];
  const parts = {
    text,
    lens: cellTable(on.cell),
    alone: bars("", [say("token"), say("model")]),
    both: bars("", [say("token"), say("whole"), say("without")], 2),
    note: node("p", { class: "llm-note", role: "status" }),
    switches: cellTable(on.part, true),
    measured: node("p", { class: "llm-note" }),
    work: stoppable(say("stop"), [measure], (working) => (text.readOnly = working)),
    reset,
    watch: on.watch,
  };
  const controls = node("div", { class: "llm-controls" }, measure, parts.work.element, reset);
  const said = [parts.alone.element, parts.both.element, parts.note];
  const results = node("div", {}, parts.lens.element, ...said, parts.switches.element, controls, parts.measured);
  parts.reveal = (there) => (results.hidden = !there);
  parts.reveal(false);
  parts.switches.entitle(say("switches"));
  parts.element = node("div", {}, text, results);
  return parts;
}

export default modelExplorer(TEXTS, { build, still });
