// Fill in the blank: the tokens of a text, some of them hidden, and what an encoder would put in their places.

import { bars, percent } from "./bars.js";
import { carriedOver, hiding, piecesOf, readable, reading, SIGN } from "./blanks.js";
import { chips, stillChips, visible } from "./chips.js";
import { button, node, store, textBox } from "./dom.js";
import { highest } from "./numbers.js";
import { distribution } from "./sample.js";
import { modelExplorer, newest } from "./starter.js";
import { stoppable } from "./stoppable.js";

const TEXTS = {
  title: { en: "Fill in the blank", zh: "完形填空" },
  text: { en: "Text; a blank is typed as [MASK]", zh: "文本；用 [MASK] 表示空位" },
  tokens: {
    en: "Tokens: choose one to hide it from the model, choose a blank to see what the model would put there",
    zh: "词元：点一个词元，把它遮住，不让模型看到；点一个空位，看模型想填什么",
  },
  blank: { en: "Blank {0}", zh: "空位 {0}" },
  was: { en: "Blank {0}, hidden: “{1}”", zh: "空位 {0}，遮住的是“{1}”" },
  into: {
    en: "Blank {0} of {1}: what the model would put there.",
    zh: "第 {0} 个空位（共 {1} 个）：模型认为这里是什么。",
  },
  choose: { en: " Choose a token to put it in.", zh: "点一个词元，把它填进去。" },
  token: { en: "token", zh: "词元" },
  model: { en: "model", zh: "模型" },
  put: { en: "put in “{0}”", zh: "填入“{0}”" },
  hidden: { en: "{0} (hidden here)", zh: "{0}（被遮住的）" },
  original: {
    en: "Hidden here: “{0}”. The model gives it {1}: its choice number {2}.",
    zh: "这里遮住的是“{0}”：模型给它的概率是 {1}，排在第 {2} 位。",
  },
  alone: {
    en: " Each blank is guessed by itself: the model does not know what it would put into the others.",
    zh: "每个空位都是单独猜的：猜一个时，模型并不知道自己会在别的空位填什么。",
  },
  nothing: {
    en: "Nothing is hidden yet: choose a token above, or type [MASK] where something is missing.",
    zh: "还没有遮住任何词元：点上面的一个词元，或者在缺词的地方输入 [MASK]。",
  },
  back: { en: "Show “{0}” again", zh: "露出“{0}”" },
  fill: { en: "Fill all, the surest first", zh: "全部填上（最有把握的先填）" },
  each: { en: "Hide every token in turn", zh: "逐个遮住每个词元" },
  stop: { en: "Stop", zh: "停止" },
  guessed: {
    en: "{0} of {1} tokens are the model's first choice when hidden alone; the hidden token gets {2} (geometric mean). Below each token: its probability.",
    zh: "单独遮住时，{1} 个词元中有 {0} 个是模型的第一选择；被遮住的词元的概率，几何平均为 {2}。每个词元下面是它的概率。",
  },
  guess: { en: "“{0}”, {1} when hidden", zh: "“{0}”，遮住时的概率为 {1}" },
};
const ROWS = 10;

// What there is to say about one blank: the most probable ids, the hidden one among them, and the rank of that, from 1.
function candidates(logits, original) {
  const shares = distribution(logits);
  const listed = highest(shares, ROWS);
  if (original !== null && !listed.includes(original)) listed.push(original);
  const rank = original === null ? null : shares.reduce((sum, share) => sum + (share > shares[original]), 1);
  return { listed: listed.map((id) => ({ id, share: shares[id] })), rank };
}

function still(model, say) {
  const { pieces, places, rows } = model.get("still");
  const blank = (place) => ({ class: places.includes(place) ? "llm-blank" : null });
  const row = stillChips(say("tokens"), pieces, places[0], blank);
  if (!places.length) return row;
  const table = bars(say("into", 1, places.length), [say("token"), say("model")]);
  table.show(rows.map(([piece, share]) => ({ piece, shares: [share] })));
  return node("div", {}, row, table.element);
}

function build({ model, say, engine, attempt }) {
  const mask = model.get("mask_token");
  const pieces = piecesOf(engine.about, mask);
  const about = { pieces, mask, maskId: engine.about.special[mask], size: pieces.length };
  // ids has what is hidden too; logits are there while nothing is computed; guesses has {share, first} for a place
  const state = { ids: [], blanks: model.get("blanks"), chosen: -1, logits: null, guesses: null };
  const asked = asking(engine, about);
  const parts = makeParts(model, say, {
    type: (text) => read({ text }),
    choose: (place) => state.logits && (state.blanks.includes(place) ? pick(place) : hide(place)),
    put: (id) => state.logits && put(state.chosen, id, state.chosen),
    back: () => state.logits && read({ ids: state.ids, blanks: without(state.chosen), focus: state.chosen }),
    fill: () => work(fill),
    each: () => work(each),
  });
  const draw = () => state.logits && showState(state, { say, about, parts });
  const without = (place) => state.blanks.filter((one) => one !== place);
  const pick = (place) => {
    state.chosen = place;
    draw();
  };
  const hide = (place) => read({ ids: state.ids, blanks: ascending([...state.blanks, place]), chosen: place });
  const put = (place, id, focus) => {
    const blanks = id === about.maskId ? state.blanks : without(place); // the mask itself fills nothing
    return read({ ids: state.ids.with(place, id), blanks, changed: true, focus });
  };

  // Takes a new text, or ids with their blanks.
  const ask = async (request) => {
    const typed = parts.text.value;
    state.logits = null;
    try {
      Object.assign(state, await (request.ids ? answered(request) : answered(await encoded(request.text))));
    } catch (error) {
      state.guesses = null;
      parts.clear();
      throw error;
    }
    if (request.changed && parts.text.value === typed) parts.text.value = await asked.text(state.ids);
    store(model, { text: parts.text.value, blanks: state.blanks });
    draw();
    if (request.focus !== undefined) parts.chips.element.children[request.focus].focus();
  };
  const answered = async ({ ids, blanks, chosen = state.chosen, changed = false }) => {
    const logits = await asked.logits(ids, blanks);
    return { ids, blanks, logits, chosen: nearest(blanks, chosen), guesses: changed ? null : state.guesses };
  };
  // A new text keeps the blanks that were there before; one that was just typed is chosen.
  const encoded = async (text) => {
    const ids = await asked.ids(text);
    const known = state.ids.length ? state.ids : ids;
    const kept = carriedOver(state.blanks, known, ids).filter((place) => place < ids.length);
    const typed = ids.flatMap((id, place) => (id === about.maskId && !kept.includes(place) ? [place] : []));
    const [chosen] = [...typed, ...carriedOver([state.chosen], known, ids), -1];
    return { ids, blanks: ascending([...kept, ...typed]), chosen, changed: true };
  };
  const read = newest(attempt(ask));

  const work = attempt((act) => state.logits && parts.work.run(act));
  const { fill, each } = passes(state, { about, asked, put, draw });

  read({ text: model.get("text") });
  return { element: parts.element, stop: parts.work.end };
}

// What takes several passes through the model: fills all blanks; hides each token in turn and keeps what it was given.
function passes(state, { about, asked, put, draw }) {
  const fill = async (going) => {
    while (going() && state.logits && state.blanks.length) {
      const { place, id } = surest(state, about);
      await put(place, id);
    }
  };
  const each = async (going) => {
    const { ids } = state;
    const guesses = (state.guesses = []);
    for (const place of ids.keys()) {
      if (ids[place] === about.maskId) continue;
      const after = at(await asked.logits(ids, [place]), place, about);
      if (!going() || state.guesses !== guesses) return;
      guesses[place] = { share: distribution(after)[ids[place]], first: highest(after, 1)[0] === ids[place] };
      draw();
    }
  };
  return { fill, each };
}

// What the worker is asked for.
function asking(engine, { mask, maskId }) {
  const ask = (job, request) => engine.ask(job, request).result;
  return {
    ids: async (text) => (await ask("encode", reading(text, mask))).ids,
    text: async (ids) => readable((await ask("decode", { ids })).text, mask),
    logits: async (ids, hidden) => (await ask("forward", { ids: hiding(ids, hidden, maskId) })).logits,
  };
}

function ascending(places) {
  return places.toSorted((a, b) => a - b);
}

// The blank that is chosen, or else the next one after it, or else the first.
function nearest(blanks, place) {
  return blanks.find((one) => one >= place) ?? blanks[0] ?? -1;
}

function at(logits, place, { size }) {
  return logits.subarray(place * size, (place + 1) * size);
}

// Of all blanks the one whose best token is the most probable. The mask itself is nothing to put in.
function surest({ blanks, logits }, about) {
  const offers = blanks.map((place) => {
    const shares = distribution(at(logits, place, about));
    const id = highest(shares, 2).find((one) => one !== about.maskId);
    return { place, id, share: shares[id] };
  });
  return offers.reduce((best, offer) => (offer.share > best.share ? offer : best));
}

function makeParts(model, say, on) {
  const text = textBox(model, say("text"), 3, on.type);
  const works = [button(say("each"), on.each), button(say("fill"), on.fill)];
  const parts = {
    text,
    chips: chips(say("tokens"), on.choose, () => {}),
    back: button("", on.back),
    fill: works[1],
    guessed: node("p", { class: "llm-note" }),
    table: bars("", [say("token"), say("model")]),
    note: node("p", { class: "llm-note", role: "status" }),
    work: stoppable(say("stop"), works, (working) => (text.readOnly = working)),
    put: on.put,
  };
  parts.clear = () => {
    parts.chips.show([], -1);
    parts.table.element.hidden = parts.back.hidden = parts.fill.hidden = true;
    parts.note.textContent = parts.guessed.textContent = "";
  };
  const buttons = node("div", { class: "llm-controls" }, parts.back, ...works, parts.work.element);
  const help = node("p", { class: "llm-note" }, say("tokens"));
  parts.element = node("div", {}, text, help, parts.chips.element, parts.guessed, buttons, parts.note, parts.table.element);
  return parts;
}

function showState(state, { say, about, parts }) {
  const { ids, blanks, chosen, logits, guesses } = state;
  parts.chips.show(ids.map((id, place) => (blanks.includes(place) ? SIGN : about.pieces[id])), chosen, (place) =>
    chipOf(state, place, { say, about }),
  );
  const [blank, original] = [blanks.indexOf(chosen), ids[chosen] === about.maskId ? null : ids[chosen]];
  parts.table.element.hidden = chosen < 0;
  parts.back.hidden = chosen < 0 || original === null;
  parts.fill.hidden = blanks.length < 2;
  parts.guessed.textContent = guesses ? guessedSentence(guesses, say) : "";
  if (chosen < 0) return (parts.note.textContent = say("nothing"));
  const { listed, rank } = candidates(at(logits, chosen, about), original);
  parts.table.title.textContent = say("into", blank + 1, blanks.length) + say("choose");
  const rows = listed.map(({ id, share }) => ({ id, shares: [share], marked: id === original }));
  parts.table.show(rows, ({ id }) => {
    const piece = visible(about.pieces[id]);
    const made = button(id === original ? say("hidden", piece) : piece, () => parts.put(id));
    made.setAttribute("aria-label", say("put", piece));
    return made;
  });
  if (original !== null) parts.back.textContent = say("back", visible(about.pieces[original]));
  const share = listed.find(({ id }) => id === original)?.share;
  const told = original === null ? "" : say("original", visible(about.pieces[original]), percent(share), rank);
  parts.note.textContent = told + (blanks.length > 1 ? say("alone") : "");
}

function chipOf({ ids, blanks, guesses }, place, { say, about }) {
  const blank = blanks.indexOf(place) + 1;
  const piece = visible(about.pieces[ids[place]]);
  const guess = guesses?.[place];
  const hidden = ids[place] === about.maskId ? say("blank", blank) : say("was", blank, piece);
  const label = blank ? hidden : guess ? say("guess", piece, percent(guess.share)) : null;
  return {
    class: [blank ? "llm-blank" : "", guess ? "llm-guess" : ""].join(" ").trim() || null,
    style: guess ? `--share: ${guess.share}` : null,
    below: guess && percent(guess.share),
    "aria-label": label,
  };
}

function guessedSentence(guesses, say) {
  const done = guesses.filter(Boolean);
  if (!done.length) return "";
  const mean = Math.exp(done.reduce((sum, { share }) => sum + Math.log(share), 0) / done.length);
  return say("guessed", done.filter(({ first }) => first).length, done.length, percent(mean));
}

export default modelExplorer(TEXTS, { build, still });
