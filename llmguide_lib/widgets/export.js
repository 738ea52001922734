// A page by itself, opened from a disk: one model, everything inside, its explorers in two languages (export.py).
//
// Pages from a disk may fetch nothing, not even beside themselves: modules and worker come from text that the page holds.

import { workerFrom } from "./connection.js";
import { node } from "./dom.js";
import { StoredModel } from "./stored.js";

const TEXTS = {
  language: { en: "中文", zh: "English" },
  dark: { en: "Dark", zh: "深色" },
  light: { en: "Light", zh: "浅色" },
};
const OTHER = { en: "zh", zh: "en" };
const TAGS = { en: "en", zh: "zh-CN" };

const held = (id) => document.getElementById(id).textContent;
const { states, modules, facts, tokenizer, engine, key } = JSON.parse(held("llm-page"));
const models = states.map((state) => Object.assign(new StoredModel(state), { source }));
let views = [];

// Where session.js finds the model's bytes; the worker is shared by all explorers.
async function source(_, { weights = true } = {}) {
  const load = async (tell) => {
    tell(0);
    const bytes = weights ? Uint8Array.from(atob(held("llm-weights").trim()), (letter) => letter.charCodeAt(0)) : new Uint8Array();
    return { weights: bytes, tokenizer, worker: () => workerFrom(engine) };
  };
  return { key: weights ? key : `${key} tokenizer`, load };
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
  if (before.some(({ el }) => !el.querySelector(".llm-start button"))) document.querySelector("button[name=start]").click();
  setTimeout(() => before.forEach(({ stop }) => stop())); // when the new views have asked for the worker
  controls(lang);
}

// The explorers show one model, so one button starts all of them.
function startAll({ target }) {
  if (target.name !== "start") return;
  for (const one of document.querySelectorAll("button[name=start]")) if (one.isConnected) one.click();
}

function controls(lang) {
  const theme = document.documentElement.dataset.theme;
  const other = theme === "dark" ? "light" : "dark";
  const button = (label, click, attributes = {}) => node("button", { type: "button", click, ...attributes }, label);
  const turn = () => {
    dark.removeEventListener("change", follow); // from now on the reader decides
    document.documentElement.dataset.theme = other;
    controls(lang);
    document.querySelector("#llm-controls button:last-child").focus();
  };
  const change = () => {
    show(OTHER[lang]);
    document.querySelector("#llm-controls button").focus();
  };
  const switches = [
    button(TEXTS.language[lang], change, { lang: TAGS[OTHER[lang]] }),
    button(TEXTS[other][lang], turn),
  ];
  document.getElementById("llm-controls").replaceChildren(...switches);
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => {
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
  if (views.length) controls(document.documentElement.lang.slice(0, 2)); // the button offers the other theme
};
dark.addEventListener("change", follow);
document.getElementById("llm-explorers").addEventListener("click", startAll);
follow();
const drawn = await Promise.all(states.map(({ explorer }) => imported(modules[explorer])));
show(document.documentElement.lang.slice(0, 2));
