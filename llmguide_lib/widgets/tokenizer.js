// Tokenizer: a text cut into tokens, the merges that made the tokens of a word, and what other languages cost.

import { carriedOver } from "./blanks.js";
import { chips, stillChips, visible } from "./chips.js";
import { measures } from "./counts.js";
import { button, change, choice, follow, node, store, textBox, wide } from "./dom.js";
import { modelExplorer, newest } from "./starter.js";

const TEXTS = {
  title: { en: "Tokenizer", zh: "分词器" },
  start: { en: "Start the tokenizer ({0} MB)", zh: "启动分词器（{0} MB）" },
  still: { en: "A stored result; start the tokenizer to type your own text.", zh: "这是保存的结果。启动分词器后可以输入自己的文本。" },
  text: { en: "Text", zh: "文本" },
  below: { en: "Below each token", zh: "词元下方显示" },
  ids: { en: "its id", zh: "编号" },
  bytes: { en: "its bytes", zh: "字节" },
  nothing: { en: "nothing", zh: "不显示" },
  tokens: { en: "Tokens: choose one to see how its word was put together", zh: "词元：点一个，看它所在的词是怎么拼起来的" },
  token: { en: "token {0}, id {1}, bytes {2}", zh: "词元 {0}，编号 {1}，字节 {2}" },
  counted: {
    en: "{0} characters, {1} bytes, {2} tokens: {3} bytes per token. Two shades tell words apart; no token spans two of them. Choose a token to see how its word is put together.",
    zh: "{0} 个字符，{1} 字节，{2} 个词元，平均每个词元 {3} 字节。深浅两色区分不同的词，词元不会跨词。点一个词元，看它所在的词是怎么拼起来的。",
  },
  partial: {
    en: " ⟨…⟩ is one byte of a character for which no rule was learned; the character is cut into its bytes.",
    zh: "⟨…⟩ 是字符的一个字节：没学到能拼出这个字符的规则，它就被切成字节。",
  },
  made: { en: "How “{0}” is put together", zh: "“{0}”是怎么拼起来的" },
  learned: { en: "rule no.", zh: "规则序号" },
  joined: { en: "what is joined", zh: "合并" },
  then: { en: "the word after it", zh: "合并之后" },
  single: { en: "its bytes", zh: "逐个字节" },
  whole: {
    en: "Rules are tried in the order in which they were learned, rule 1 first; {0} are known. When none fits, what is left are the tokens.",
    zh: "按学到的先后尝试合并规则，从第 1 条开始，共 {0} 条。没有规则可用时，剩下的就是词元。",
  },
  long: { en: "“{0}” is too long to show each merge.", zh: "“{0}”太长，不逐步展示合并。" },
  cost: { en: "What the same sentence costs in other languages, and a piece of code", zh: "同一句话用不同语言说，再加一段代码，各要多少词元" },
  language: { en: "text", zh: "文本" },
  characters: { en: "characters", zh: "字符" },
  size: { en: "bytes", zh: "字节" },
  count: { en: "tokens", zh: "词元" },
  perWord: { en: "per word", zh: "每词" },
  perCharacter: { en: "per character", zh: "每字符" },
  times: { en: "× English", zh: "是英语的几倍" },
  put: { en: "put this text into the box: {0}", zh: "把这段文本放进输入框：{0}" },
  en: { en: "English", zh: "英语" },
  zh: { en: "Chinese", zh: "汉语" },
  de: { en: "German", zh: "德语" },
  es: { en: "Spanish", zh: "西班牙语" },
  ru: { en: "Russian", zh: "俄语" },
  ar: { en: "Arabic", zh: "阿拉伯语" },
  hi: { en: "Hindi", zh: "印地语" },
  ja: { en: "Japanese", zh: "日语" },
  code: { en: "Python", zh: "Python 代码" },
};

const SAMPLES = {
  en: "The weather is fine today, so we are walking to the old bridge.",
  zh: "今天天气很好，所以我们走路去那座老桥。",
  de: "Heute ist das Wetter schön, also gehen wir zu Fuß zur alten Brücke.",
  es: "Hoy hace buen tiempo, así que vamos a pie al puente viejo.",
  ru: "Сегодня хорошая погода, поэтому мы идём пешком к старому мосту.",
  ar: "الطقس جميل اليوم، لذلك نمشي إلى الجسر القديم.",
  hi: "आज मौसम अच्छा है, इसलिए हम पुराने पुल तक पैदल जा रहे हैं।",
  ja: "今日は天気がいいので、古い橋まで歩いて行きます。",
  code: "def fine_days(days):\n    return [day for day in days if day.is_fine]",
};

function still(model, say) {
  const { pieces, ids } = model.get("still");
  return stillChips(say("tokens"), pieces, -1, (place) => ({ below: String(ids[place]) }));
}

function build({ model, say, engine, attempt }) {
  const state = { words: [], ids: [] }; // ids of the last text that could be cut
  const parts = makeParts(model, say, {
    choose: (place) => store(model, { chosen: place }),
    type: (text) => read(text),
  });
  const draw = () => drawText(state, { model, say, parts, engine });

  const read = newest(
    attempt(async (text) => {
      const { words } = await engine.ask("cut", { text }).result.catch((error) => {
        state.words = [];
        draw();
        drawMerges({ say, parts, engine }, null);
        throw error;
      });
      const ids = placed(words).map(({ id }) => id);
      const chosen = carriedChoice(model, state.ids, ids);
      Object.assign(state, { words, ids });
      store(model, { chosen });
      draw();
      await explain();
    }),
  );
  // The merges of the chosen token's word.
  const merges = async () => {
    const word = placed(state.words)[chosenOf(model, state.words)]?.word;
    const steps = word && (await engine.ask("merges", { word: word.text }).result).steps;
    drawMerges({ say, parts, engine }, word ? { word, steps } : null);
  };
  const explain = newest(attempt(merges));

  const unfollow = [follow(model, ["below"], draw), follow(model, ["chosen"], () => (draw(), explain()))];
  read(model.get("text"));
  attempt(() => drawCosts({ say, parts, engine }))();
  return { element: parts.element, stop: () => unfollow.forEach((stop) => stop()) };
}

function makeParts(model, say, on) {
  const text = textBox(model, say("text"), 3, on.type);
  const options = ["ids", "bytes", "nothing"].map((name) => [name, say(name)]);
  const below = choice(say("below"), options, model.get("below"), (name) => store(model, { below: name }));
  const parts = {
    text,
    below,
    chips: chips(say("tokens"), on.choose),
    note: node("p", { class: "llm-note", role: "status" }),
    merges: node("div"),
    costs: node("table", { class: "llm-costs" }),
  };
  parts.put = (sample) => {
    text.value = sample;
    text.dispatchEvent(new Event("input"));
    text.scrollIntoView({ block: "nearest" });
  };
  const controls = node("div", { class: "llm-controls llm-after" }, below.element);
  const cost = node("p", { class: "llm-heading" }, say("cost"));
  parts.element = node("div", {}, text, controls, parts.chips.element, parts.note, parts.merges, cost, wide(say("cost"), parts.costs));
  return parts;
}

// Every token with its word and the word's number.
export function placed(words) {
  return words.flatMap((word, number) => word.tokens.map((token) => ({ ...token, word, number })));
}

function chosenOf(model, words) {
  return Math.max(0, Math.min(model.get("chosen"), placed(words).length - 1));
}

// In another text the chosen token stays chosen while it stands there, and the last one, which is being typed, stays the
// last. Otherwise the choice begins anew.
function carriedChoice(model, before, ids) {
  const chosen = model.get("chosen");
  if (!before.length) return chosen;
  return carriedOver([chosen], before, ids)[0] ?? (chosen === before.length - 1 ? ids.length - 1 : 0);
}

function hex(bytes) {
  return bytes.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
}

// Whether bytes are no whole characters.
export function isPartial(bytes) {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    return false;
  } catch {
    return true;
  }
}

function drawText({ words }, { model, say, parts, engine }) {
  const tokens = placed(words);
  const written = { ids: ({ id }) => String(id), bytes: ({ bytes }) => hex(bytes), nothing: () => "" }[model.get("below")];
  parts.below.input.value = model.get("below");
  parts.chips.show(tokens.map(({ id }) => engine.about.pieces[id]), chosenOf(model, words), (place) => {
    const { id, bytes, number } = tokens[place];
    const title = say("token", place + 1, id, hex(bytes));
    return { below: written(tokens[place]), class: number % 2 ? "llm-odd" : "llm-even", title };
  });
  const text = words.map((word) => word.text).join("");
  const { characters, bytes } = measures(text, "", tokens.length);
  const counted = say("counted", characters, bytes, tokens.length, (bytes / tokens.length).toFixed(2));
  const partial = tokens.some((token) => isPartial(token.bytes)) ? say("partial") : "";
  parts.note.textContent = tokens.length ? counted + partial : "";
}

function drawMerges({ say, parts, engine }, made) {
  if (!made) return parts.merges.replaceChildren();
  const { word, steps } = made;
  if (!steps) return parts.merges.replaceChildren(node("p", { class: "llm-note" }, say("long", visible(word.text))));
  const { pieces, rules } = engine.about;
  const rows = steps.map(({ rank, at, ids }, step) => {
    const before = step ? steps[step - 1].ids : [];
    const joined = step ? node("td", {}, code(pieces[before[at]]), " + ", code(pieces[before[at + 1]])) : node("td", {}, say("single"));
    const whole = node("td", { class: "llm-word" }, ...ids.map((id, place) => code(pieces[id], step && place === at)));
    return node("tr", {}, node("th", { scope: "row" }, step ? String(rank + 1) : "–"), joined, whole);
  });
  const head = ["learned", "joined", "then"].map((name) => node("th", { scope: "col" }, say(name)));
  const caption = node("caption", {}, say("made", visible(word.text)));
  const table = node("table", { class: "llm-merges" }, caption, node("tr", {}, ...head), ...rows);
  parts.merges.replaceChildren(wide(say("made", visible(word.text)), table), node("p", { class: "llm-note" }, say("whole", rules)));
}

function code(piece, marked) {
  return node("code", { class: marked ? "llm-new" : null }, visible(piece));
}

async function drawCosts({ say, parts, engine }) {
  const found = [];
  for (const [name, sample] of Object.entries(SAMPLES)) {
    const { ids } = await engine.ask("encode", { text: sample }).result;
    found.push({ name, sample, ...measures(sample, name === "code" ? "" : name, ids.length) });
  }
  const columns = ["language", "characters", "size", "count", "perWord", "perCharacter", "times"];
  const rows = found.map(({ name, sample, characters, bytes, tokens, perWord, perCharacter }) => {
    const put = change(button(say(name), () => parts.put(sample)), { "aria-label": say("put", say(name)), title: sample });
    const times = name === "code" ? "" : (tokens / found[0].tokens).toFixed(1);
    const cells = [characters, bytes, tokens, perWord.toFixed(1), perCharacter.toFixed(2), times];
    return node("tr", {}, node("th", { scope: "row" }, put), ...cells.map((cell) => node("td", {}, String(cell))));
  });
  const head = columns.map((name) => node("th", { scope: "col" }, say(name)));
  parts.costs.append(node("tr", {}, ...head), ...rows);
}

export default modelExplorer(TEXTS, { build, still, weights: false });
