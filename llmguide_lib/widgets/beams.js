// Beam search: the tree of kept and dropped continuations of a text, the sums of their log probabilities, and the text
// that greedy choices give.

import { stillChips, visible } from "./chips.js";
import { button, choice, follow, node, slider, store, textBox, wide } from "./dom.js";
import { written } from "./numbers.js";
import { modelExplorer, newest } from "./starter.js";
import { pathTo, rowsOf, tree } from "./tree.js";

const TEXTS = {
  title: { en: "Beam search", zh: "束搜索" },
  text: { en: "Text", zh: "文本" },
  width: { en: "Beams kept", zh: "束宽" },
  length: { en: "Tokens to add", zh: "续写词元数" },
  penalty: { en: "Length penalty (exponent)", zh: "长度惩罚的指数" },
  scored: {
    en: "Score = sum / length to the power of the exponent. 0 compares sums, which favours short texts; 1 compares means.",
    zh: "分数 = 和 ÷ 长度的指数次方。指数为 0 时直接比较和，短文本占便宜；为 1 时比较平均值。",
  },
  ends: { en: "A text ends with", zh: "文本以什么结束" },
  never: { en: "nothing: all are as long", zh: "不提前结束，长度都一样" },
  stop: { en: "Stop", zh: "停止" },
  tree: {
    en: "The tree: a column for each added token, the most probable continuation on top. Choose a box to see its arithmetic.",
    zh: "搜索树：每列一个新词元，最可能的续写排在最上面。点一个方框，看它是怎么算出来的。",
  },
  legend: {
    en: "In each box: the token, below it the sum of log probabilities so far, and the token's own probability. Filled: kept. Dashed ×: dropped. ■: ended. Thick: the best text. Orange: the greedy choices.",
    zh: "方框里是词元，下面左边是到此为止的对数概率之和，右边是这个词元自己的概率。填色：保留；虚线 ×：丢弃；■：结束；粗线：最好的文本；橙色：贪心选择。",
  },
  node: {
    en: "“{0}”, probability {1}%, sum {2}, {3}",
    zh: "“{0}”，概率 {1}%，和 {2}，{3}",
  },
  kept: { en: "kept", zh: "保留" },
  dropped: { en: "dropped", zh: "丢弃" },
  ended: { en: "ended", zh: "结束" },
  chosen: {
    en: "“{0}”: {1} = {2}. Divided by its length, {3}, to the power {4}, this gives the score {5}. {6}",
    zh: "“{0}”：{1} = {2}。再除以长度 {3} 的 {4} 次方，分数是 {5}。{6}",
  },
  keptBecause: { en: "Kept: it is among the {0} best.", zh: "保留：它在最好的 {0} 个之内。" },
  droppedBecause: { en: "Dropped: {0} others that go on have a larger sum.", zh: "丢弃：另有 {0} 个还能继续的候选，它们的和更大。" },
  droppedEnd: { en: "Dropped: it ends, but is not among the {0} best.", zh: "丢弃：它已结束，但不在最好的 {0} 个之内。" },
  endedBecause: { en: "Ended: it waits with its score, and no longer grows.", zh: "结束：带着分数等待，不再变长。" },
  found: { en: "The texts found, best score first", zh: "找到的文本，分数高的在前" },
  continuation: { en: "continuation", zh: "续写" },
  tokens: { en: "tokens", zh: "词元数" },
  sum: { en: "sum", zh: "和" },
  score: { en: "score", zh: "分数" },
  greedy: { en: "greedy: {0}", zh: "贪心：{0}" },
  equal: { en: "Greedy choices give the best text too.", zh: "贪心选择得到的也是最好的文本。" },
  better: {
    en: "The best text is {0} times as probable as the greedy one, by its whole sum.",
    zh: "按整段的和来算，最好的文本的概率是贪心文本的 {0} 倍。",
  },
  worse: {
    en: "The greedy text is {0} times as probable as the one with the best score: lengths differ, or the search dropped the way to it.",
    zh: "贪心文本的概率是分数最高者的 {0} 倍：两者长度不同，或者搜索丢掉了通向它的路。",
  },
  searching: { en: "Searching: {0} of {1} tokens", zh: "正在搜索：{1} 个词元中的第 {0} 个" },
  stopped: { en: "Stopped after {0} tokens. ", zh: "在第 {0} 个词元处停下。" },
  early: {
    en: "The search ended after {0} tokens: nothing that still grows is ahead of the texts that ended. ",
    zh: "搜索在第 {0} 个词元处结束：还在变长的都赶不上已经结束的文本。",
  },
  logs: { en: "sum of log probabilities", zh: "对数概率之和" },
  both: { en: "What beam search and greedy choices add", zh: "束搜索与贪心选择各自的续写" },
  beam: { en: "beam search: {0}", zh: "束搜索：{0}" },
};
const SETTINGS = ["num_beams", "length", "length_penalty", "ends"];

function still(model, say) {
  const { pieces, texts } = model.get("still");
  const rows = texts.map(([text, total], at) =>
    node("tr", {}, node("th", { scope: "row" }, say(at ? "greedy" : "beam", visible(text))), node("td", {}, written(total, 2))),
  );
  const head = ["continuation", "logs"].map((name) => node("th", { scope: "col" }, say(name)));
  const table = node("table", { class: "llm-found" }, node("caption", {}, say("both")), node("tr", {}, ...head), ...rows);
  return node("div", {}, stillChips(say("text"), pieces), wide(say("both"), table));
}

function build({ model, say, engine, attempt }) {
  const state = { prompt: "", levels: [], found: [], greedy: null, chosen: null, asked: 0, running: null, halted: false };
  const choose = (place) => {
    if (!state.greedy) return; // another search is on its way
    state.chosen = place;
    drawChosen(state, { model, say, engine, parts });
  };
  const halt = () => state.running !== null && engine.stop(state.running);
  const parts = makeParts(model, say, {
    engine,
    choose,
    type: () => restart(),
    stop: attempt(() => {
      state.halted = true;
      return halt();
    }),
  });
  const draw = () => drawTree(state, { model, say, engine, parts });

  const search = async () => {
    const request = requestOf(model, engine, parts.text.value);
    Object.assign(state, { levels: [], found: [], greedy: null, asked: request.maxNewTokens, halted: false });
    const { id, result } = engine.ask("beams", request, ({ level, found }) => {
      Object.assign(state, { levels: [...state.levels, level], found });
      parts.note.textContent = say("searching", state.levels.length, request.maxNewTokens);
    });
    state.running = id;
    parts.stop.disabled = false;
    try {
      const { prompt, greedy } = await result;
      Object.assign(state, { greedy, prompt: engine.about.pieces[prompt.at(-1)] });
    } finally {
      state.running = null;
      parts.stop.disabled = true;
      parts.note.textContent = "";
      draw();
    }
  };
  const run = newest(attempt(search));
  const restart = () => {
    attempt(halt)(); // what is running is of no use any more
    return run();
  };
  const unfollow = follow(model, SETTINGS, () => {
    parts.set();
    restart();
  });
  return { element: parts.element, stop: unfollow };
}

function requestOf(model, engine, text) {
  const [numBeams, maxNewTokens, lengthPenalty, ends] = SETTINGS.map((name) => model.get(name));
  return { text, numBeams, maxNewTokens, lengthPenalty, endId: idOf(engine.about, ends) };
}

// The token that spells this; null if there is none, and then no text ends.
function idOf({ pieces, special }, ends) {
  if (!ends) return null;
  const id = special[ends] ?? pieces.indexOf(ends);
  return id < 0 ? null : id;
}

function makeParts(model, say, { engine, choose, type, stop }) {
  const text = textBox(model, say("text"), 2, type);
  const { about } = engine;
  const range = (label, name, bounds, words) =>
    slider(label, { ...bounds, value: bounds.min, words }, (value) => store(model, { [name]: value }));
  const width = range(say("width"), "num_beams", { min: 1, max: 6, step: 1 });
  const length = range(say("length"), "length", { min: 1, max: 20, step: 1 });
  const penalty = range(say("penalty"), "length_penalty", { min: 0, max: 2, step: 0.1 }, (value) => value.toFixed(1));
  const candidates = [".", "\n", ...Object.keys(about.special), model.get("ends")];
  const known = [...new Set(candidates)].filter((one) => one && idOf(about, one) !== null);
  const options = [["", say("never")], ...known.map((one) => [one, visible(one)])];
  const ends = choice(say("ends"), options, model.get("ends"), (value) => store(model, { ends: value }));
  const name = ({ id, logProbability, sum, fate }) =>
    say("node", visible(about.pieces[id]), (100 * Math.exp(logProbability)).toFixed(1), written(sum, 2), say(fate));
  const parts = {
    text,
    stop: button(say("stop"), stop),
    note: node("p", { class: "llm-note", role: "status" }),
    tree: tree({ label: say("tree"), choose, name, pieces: about.pieces }),
    chosen: node("p", { class: "llm-note", "aria-live": "polite" }),
    found: node("table", { class: "llm-found" }),
  };
  parts.stop.disabled = true;
  parts.set = () => {
    width.set(model.get("num_beams"));
    length.set(model.get("length"));
    penalty.set(model.get("length_penalty"));
    ends.input.value = known.includes(model.get("ends")) ? model.get("ends") : "";
  };
  const fields = [width, length, penalty, ends].map((one) => one.element);
  const controls = node("div", { class: "llm-controls llm-after" }, ...fields, parts.stop);
  const legend = node("p", { class: "llm-note" }, say("legend"));
  const note = node("p", { class: "llm-note" }, say("tree"));
  parts.shown = node("div", {}, note, parts.tree.element, parts.chosen, legend, wide(say("found"), parts.found));
  parts.element = node("div", {}, text, controls, node("p", { class: "llm-note" }, say("scored")), parts.note, parts.shown);
  return parts;
}

function drawTree(state, { model, say, engine, parts }) {
  const { levels, found, greedy, prompt, asked, halted } = state;
  parts.shown.hidden = !greedy || !levels.length;
  if (parts.shown.hidden) return;
  parts.tree.show(levels, { start: prompt, greedy: rowsOf(levels, greedy.ids), best: found[0].path });
  state.chosen = [found[0].path.length - 1, found[0].path.at(-1)];
  drawChosen(state, { model, say, engine, parts });
  drawFound(state, { say, engine, parts });
  const end = levels.length < asked ? say(halted ? "stopped" : "early", levels.length) : "";
  parts.note.textContent = end + comparison(say, found[0], greedy);
}

function comparison(say, best, greedy) {
  if (String(best.ids) === String(greedy.ids)) return say("equal");
  const times = Math.exp(Math.abs(best.sum - greedy.sum));
  return say(best.sum >= greedy.sum ? "better" : "worse", times >= 100 ? Number(times.toPrecision(2)).toLocaleString("en") : times.toFixed(2));
}

// The chosen candidate's arithmetic: its log probabilities, their sum, its score, and why it was kept or not.
function drawChosen({ levels, chosen }, { model, say, engine, parts }) {
  const [column, row] = chosen;
  parts.tree.mark(chosen);
  const way = pathTo(levels, chosen).map((at, place) => levels[place][at]);
  const { sum, fate, id } = way.at(-1);
  const [beams, exponent] = [model.get("num_beams"), model.get("length_penalty")];
  const ahead = levels[column].slice(0, row).filter((one) => one.fate === "kept").length;
  const ends = id === idOf(engine.about, model.get("ends"));
  const because = {
    kept: say("keptBecause", beams),
    ended: say("endedBecause"),
    dropped: ends ? say("droppedEnd", beams) : say("droppedBecause", ahead),
  };
  const text = visible(way.map((one) => engine.about.pieces[one.id]).join(""));
  const terms = way.map((one) => written(one.logProbability, 2)).join(" + ").replaceAll("+ −", "− ");
  const score = sum / way.length ** exponent;
  const numbers = [written(sum, 2), way.length, exponent.toFixed(1), written(score, 3)];
  parts.chosen.textContent = say("chosen", text, terms, ...numbers, because[fate]);
}

function drawFound({ found, greedy }, { say, engine, parts }) {
  const { pieces } = engine.about;
  const spelled = (ids) => visible(ids.map((id) => pieces[id]).join(""));
  const line = (text, { ids, sum, score }) => {
    const cells = [ids.length, written(sum, 2), written(score, 3)].map((cell) => node("td", {}, String(cell)));
    return node("tr", {}, node("th", { scope: "row" }, text), ...cells);
  };
  const head = ["continuation", "tokens", "sum", "score"].map((name) => node("th", { scope: "col" }, say(name)));
  const rows = found.map((one) => line(spelled(one.ids), one));
  const last = line(say("greedy", spelled(greedy.ids)), greedy);
  last.className = "llm-greedy";
  parts.found.replaceChildren(node("caption", {}, say("found")), node("tr", {}, ...head), ...rows, last);
}

export default modelExplorer(TEXTS, { build, still });
