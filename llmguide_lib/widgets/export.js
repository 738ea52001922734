// A page by itself, opened from a disk: one model, everything inside, its explorers in two languages (export.py).
//
// Pages from a disk may fetch nothing, not even beside themselves: modules and worker come from text that the page holds.

import { workerFrom } from "./connection.js";
import { button, change, node } from "./dom.js";
import { StoredModel } from "./stored.js";

const TEXTS = {
  language: { en: "中文", zh: "English" },
  dark: { en: "Dark", zh: "深色" },
  light: { en: "Light", zh: "浅色" },
};
const OTHER = { en: "zh", zh: "en", dark: "light", light: "dark" }; // of two the other one
const TAGS = { en: "en", zh: "zh-CN" };

const held = (id) => document.getElementById(id).textContent;
const { states, modules, facts, tokenizer, engine, key } = JSON.parse(held("llm-page"));
const models = states.map((state) => Object.assign(new StoredModel(state), { source }));
const system = matchMedia("(prefers-color-scheme: dark)");
const [language, shade] = [button("", () => show(OTHER[langNow()])), button("", turn)];
let views = [];
let theme = null; // that the reader has chosen; until then it is the system's

// Where session.js finds the model's bytes, when a reader starts an explorer. All share the worker, so the others start too.
async function source(_, { weights = true } = {}) {
  startAll();
  const load = async (tell) => {
    tell(0);
    const bytes = weights ? Uint8Array.from(atob(held("llm-weights").trim()), (letter) => letter.charCodeAt(0)) : new Uint8Array();
    return { weights: bytes, tokenizer, worker: () => workerFrom(engine) };
  };
  return { key: weights ? key : `${key} tokenizer`, load };
}

function startAll() {
  for (const { el } of views) startButton(el)?.click();
}

// Of an explorer that neither runs nor loads; beside the button that gives up there is a progress bar.
function startButton(el) {
  return el.querySelector(".llm-start > button:only-child");
}

async function imported(text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    return (await import(address)).default;
  } finally {
    URL.revokeObjectURL(address);
  }
}

// Shows all explorers in a language; those that ran before run on, because the worker ends only with the last view.
function show(lang) {
  const before = views;
  document.documentElement.lang = TAGS[lang];
  for (const one of document.querySelectorAll("[data-lang]")) one.hidden = one.dataset.lang !== lang;
  document.getElementById("llm-facts").textContent = facts[lang];
  views = models.map((model, place) => {
    model.set("lang", lang);
    const el = node("div", { class: "llm-view" });
    const stop = drawn[place].render({ model, el });
    el.prepend(node("h2", {}, el.querySelector(".llm-explorer").getAttribute("aria-label")));
    return { el, stop };
  });
  document.getElementById("llm-explorers").replaceChildren(...views.map(({ el }) => el));
  if (before.some(({ el }) => !startButton(el))) startAll();
  setTimeout(() => before.forEach(({ stop }) => stop())); // when the new views have asked for the worker
  label();
}

function langNow() {
  return document.documentElement.lang.slice(0, 2);
}

function themeNow() {
  return theme ?? (system.matches ? "dark" : "light");
}

function turn() {
  theme = OTHER[themeNow()];
  paint();
}

function paint() {
  document.documentElement.dataset.theme = themeNow();
  label();
}

// Says on each button what it leads to.
function label() {
  const lang = langNow();
  change(language, { lang: TAGS[OTHER[lang]] }).textContent = TEXTS.language[lang];
  shade.textContent = TEXTS[OTHER[themeNow()]][lang];
}

const drawn = await Promise.all(states.map(({ explorer }) => imported(modules[explorer])));
document.getElementById("llm-controls").append(language, shade);
system.addEventListener("change", paint);
paint();
show(langNow());
