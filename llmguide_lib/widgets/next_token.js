// Next token: the tokens of a text, what the model expects after each of them, and the text growing token by token.

import { bars } from "./bars.js";
import { chips, stillChips, visible } from "./chips.js";
import { button, follow, node, store, textBox } from "./dom.js";
import { highest } from "./numbers.js";
import { distribution, greedy, sampler } from "./sample.js";
import { drawnFrom, samplingOf, settings, SETTINGS } from "./settings.js";
import { modelExplorer, newest } from "./starter.js";

const TEXTS = {
  title: { en: "Next token", zh: "下一个词元" },
  text: { en: "Text", zh: "文本" },
  tokens: {
    en: "Tokens, pieces of words; ␣ is a space. Choose one to see what the model expects after it.",
    zh: "词元是词的片段，␣ 是空格。点一个，看模型认为它后面是什么。",
  },
  bytes: {
    en: "⟨E4⟩ and the like are single bytes of a character that the tokenizer has no token for. The model has hardly read any: do not trust what it expects after them.",
    zh: "⟨E4⟩ 这样的是单个字节：分词器里没有这个字符的词元。模型几乎没读过这样的文本，它对后面的预测不可信。",
  },
  after: { en: "After “{0}”: the most probable tokens", zh: "“{0}”之后最可能的词元" },
  token: { en: "token", zh: "词元" },
  model: { en: "model", zh: "模型" },
  drawn: { en: "chance to be drawn", zh: "抽到的概率" },
  add: { en: "add “{0}”", zh: "加上“{0}”" },
  best: { en: "Add the most likely token at the end", zh: "在末尾加上最可能的词元" },
  draw: { en: "Add a drawn token at the end", zh: "在末尾加上随机抽取的词元" },
  write: { en: "Continue the text", zh: "接着写" },
  stop: { en: "Stop", zh: "停止" },
  left: {
    en: "With these settings {0} of {1} tokens can be drawn; those not listed have {2}% together.",
    zh: "按现在的设置，{1} 个词元中有 {0} 个可能被抽到；没有列出的合计占 {2}%。",
  },
  written: { en: "{0} tokens added. ", zh: "加上了 {0} 个词元。" },
  ended: { en: "The model ended the text with {0}. ", zh: "模型用 {0} 结束了文本。" },
  full: { en: "The text is full: the model reads at most {0} tokens. ", zh: "文本满了：模型最多读 {0} 个词元。" },
};
const ROWS = 10;
const WRITTEN = 60; // tokens, unless the reader stops earlier
const BYTE = /^⟨[0-9A-F]{2}⟩/;

// The rows of the table, by the model's own order: piece, its probability, and that of being drawn.
function rowsAfter(logits, pieces, sampling) {
  const own = distribution(logits);
  const drawn = drawnFrom(logits, sampling);
  const listed = highest(own, ROWS);
  const rest = 1 - listed.reduce((sum, id) => sum + drawn[id], 0);
  const rows = listed.map((id) => ({ id, piece: pieces[id], shares: [own[id], drawn[id]] }));
  return { rows, kept: drawn.filter((share) => share > 0).length, rest: Math.max(0, rest) };
}

function still(model, say) {
  const { pieces, rows } = model.get("still");
  const table = bars(say("after", visible(pieces.at(-1))), [say("token"), say("model")]);
  table.show(rows.map(([piece, share]) => ({ piece, shares: [share] })));
  return node("div", {}, stillChips(say("tokens"), pieces, pieces.length - 1), table.element);
}

function build({ model, say, engine, attempt }) {
  const { pieces, special, maxSeqLen } = engine.about;
  const state = { ids: [], chosen: -1, logits: null, writing: null }; // logits are there while nothing is computed
  const parts = makeParts(model, say, {
    choose: (place) => {
      state.chosen = place;
      draw();
    },
    type: (text) => read({ text }),
    best: () => pick(greedy),
    drawn: () => pick(sampler({ ...samplingOf(model), seed: model.get("seed") + state.ids.length })),
    write: attempt(() => (state.writing === null ? write() : engine.stop(state.writing))),
  });
  parts.clear();
  const draw = () => state.logits && showState(state, { model, say, pieces, parts, add, maxSeqLen });
  const add = (id) => state.logits && read({ ids: [...state.ids, id] });
  const pick = (choose) => state.logits && add(choose(state.logits.subarray(-pieces.length)));

  // Takes a text or ids, and asks what follows each token.
  const ask = async (request) => {
    const [before, typed] = [state.logits, parts.text.value];
    state.logits = null;
    const { ids, logits } = await engine.ask("forward", request).result.catch((error) => {
      if (request.ids) state.logits = before;
      else parts.clear();
      throw error;
    });
    if (request.ids) {
      const { text } = await engine.ask("decode", { ids }).result;
      if (parts.text.value === typed) parts.text.value = text; // else the reader has typed meanwhile
      store(model, { text: parts.text.value });
    }
    Object.assign(state, { ids, logits, chosen: ids.length - 1 });
    draw();
  };
  const read = newest(attempt(ask));

  const write = async () => {
    if (!state.logits) return;
    state.logits = null;
    const from = state.ids.length;
    let end = null;
    const request = { ids: state.ids, maxNewTokens: WRITTEN, sampling: samplingOf(model), stopIds: Object.values(special) };
    const { id, result } = engine.ask("generate", request, ({ token, text }) => {
      if (Object.values(special).includes(token)) return void (end = pieces[token]);
      state.ids = [...state.ids, token];
      parts.text.value += text;
      parts.chips.show(state.ids.map((one) => pieces[one]), state.ids.length - 1);
    });
    state.writing = id;
    parts.busy(true);
    try {
      await result;
    } finally {
      state.writing = null;
      parts.busy(false);
      await read({ ids: state.ids });
      const ended = end === null ? "" : say("ended", visible(end));
      parts.note.textContent = say("written", state.ids.length - from) + ended + parts.note.textContent;
    }
  };

  const unfollow = follow(model, SETTINGS, () => {
    parts.settings.set();
    draw();
  });
  read({ text: model.get("text") });
  return { element: parts.element, stop: unfollow };
}

function makeParts(model, say, on) {
  const text = textBox(model, say("text"), 3, on.type);
  const buttons = [button(say("best"), on.best), button(say("draw"), on.drawn)];
  const write = button(say("write"), on.write);
  const parts = {
    text,
    heading: node("p", { class: "llm-heading" }, say("tokens")),
    chips: chips(say("tokens"), on.choose),
    bytes: node("p", { class: "llm-status" }, say("bytes")),
    table: bars("", [say("token"), say("model"), say("drawn")]),
    settings: settings(model, (values) => store(model, values)),
    note: node("p", { class: "llm-note", role: "status" }),
  };
  parts.busy = (writing) => {
    text.readOnly = writing;
    parts.open(!writing);
    write.disabled = false; // it stops what is written
    write.textContent = say(writing ? "stop" : "write");
  };
  parts.open = (more) => {
    for (const one of [...buttons, write]) one.disabled = !more;
  };
  parts.clear = () => {
    parts.open(false);
    for (const one of [parts.heading, parts.bytes, parts.table.element]) one.hidden = true;
    parts.chips.show([], -1);
    parts.table.title.textContent = "";
    parts.table.show([]);
    parts.note.textContent = "";
  };
  parts.element = node(
    "div",
    {},
    text,
    parts.heading,
    parts.chips.element,
    parts.bytes,
    node("div", { class: "llm-controls" }, ...buttons, write),
    node("div", { class: "llm-controls" }, ...parts.settings.elements),
    parts.table.element,
    parts.note,
  );
  return parts;
}

function showState({ ids, chosen, logits }, { model, say, pieces, parts, add, maxSeqLen }) {
  const after = logits.subarray(chosen * pieces.length, (chosen + 1) * pieces.length);
  const { rows, kept, rest } = rowsAfter(after, pieces, samplingOf(model));
  parts.chips.show(ids.map((id) => pieces[id]), chosen);
  parts.table.title.textContent = say("after", visible(pieces[ids[chosen]]));
  const last = chosen === ids.length - 1;
  const full = ids.length >= maxSeqLen;
  parts.heading.hidden = parts.table.element.hidden = false;
  parts.bytes.hidden = !ids.some((id) => BYTE.test(pieces[id]));
  parts.open(!full);
  const adding = ({ id, piece }) => {
    const made = button(visible(piece), () => add(id));
    made.setAttribute("aria-label", say("add", visible(piece)));
    return made;
  };
  parts.table.show(rows, last && !full ? adding : undefined);
  parts.note.textContent = (full ? say("full", maxSeqLen) : "") + say("left", kept, pieces.length, (100 * rest).toFixed(1));
}

export default modelExplorer(TEXTS, { build, still });
