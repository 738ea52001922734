// Starts the stored explorers of a page without a kernel: each is called as anywidget would call it, over its stored
// state. The state names the explorer's module; the modules are those that the notebooks use, in explorers/.

import { StoredModel } from "./explorers/stored.js";

const VIEWS = 'script[type="application/vnd.jupyter.widget-view+json"]';
const STATES = 'script[type="application/vnd.jupyter.widget-state+json"]';
const FAILED = {
  en: "This explorer could not be started. What it shows is described below.",
  zh: "这个交互图没能启动。它展示的内容见下面的说明。",
};

async function start(view, states) {
  const state = states[JSON.parse(view.textContent).model_id]?.state;
  if (!state?.explorer) return;
  const el = document.createElement("div");
  el.className = "llm-view";
  view.after(el);
  try {
    const module = await import(new URL(`explorers/${state.explorer}.js`, import.meta.url));
    await module.default.render({ model: new StoredModel(state), el });
  } catch (error) {
    console.warn(error);
    el.textContent = FAILED[document.documentElement.lang.slice(0, 2)];
    el.classList.add("llm-failed");
  }
}

const states = Object.assign({}, ...[...document.querySelectorAll(STATES)].map((tag) => JSON.parse(tag.textContent).state));
for (const view of document.querySelectorAll(VIEWS)) start(view, states);
