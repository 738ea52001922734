// The frame of every explorer that runs a model: a still picture and a start button, then the explorer itself.

import { button, change, node } from "./dom.js";
import { REFUSALS } from "./refusals.js";
import { canOpen, openModel } from "./session.js";
import { speaker } from "./texts.js";

const FRAME = {
  start: { en: "Start the model ({0} MB)", zh: "启动模型（{0} MB）" },
  cancel: { en: "Cancel", zh: "取消" },
  waiting: { en: "Waiting for the model…", zh: "正在等待模型……" },
  patience: {
    en: "No answer from Python yet. It may be busy with another cell, or have stopped; then run this cell again.",
    zh: "Python 还没有回应：可能正忙着运行别的单元格，也可能已经停止，那就请重新运行本单元格。",
  },
  loading: { en: "Loading: {0}%", zh: "正在加载：{0}%" },
  still: { en: "A stored result; start the model to type your own text.", zh: "这是保存的结果。启动模型后可以输入自己的文本。" },
  rounded: {
    en: "Computed in this page, with weights rounded to eight bits: probabilities differ a little from the stored result.",
    zh: "由本页面计算，权重舍入到 8 位，因此概率与保存的结果略有出入。",
  },
  broken: { en: "Something went wrong: {0}. Start again.", zh: "出错了：{0}。请重新启动。" },
};
const PATIENCE_MS = 4000;
const MOMENT_MS = 150; // what takes longer shows that it is being computed

// What an explorer's module exports as default. `texts` has the key `title`.
//
// build({model, say, engine, attempt}) gives {element, stop}: the running explorer, and what is to be done when it is
//   removed. engine = {about, ask, stop} (engine.js lists the jobs; about.pieces has what each id spells).
//   attempt(act) gives a function that calls act and shows the sentence of what it refuses.
// still(model, say) gives an element that shows the stored result without running anything.
// weights: false for an explorer that needs the tokenizer only.
export function modelExplorer(texts, { build, still, weights = true }) {
  return { render: ({ model, el }) => render(model, el, { texts, build, still, weights }) };
}

function render(model, el, { texts, build, still, weights }) {
  const lang = model.get("lang");
  const say = speaker({ ...FRAME, ...texts }, lang);
  const parts = {
    body: node("div", { class: "llm-body" }),
    status: node("p", { class: "llm-status", role: "status" }),
    error: node("p", { class: "llm-error", role: "alert" }),
    start: node("div", { class: "llm-start" }),
    rounded: node("p", { class: "llm-status" }),
  };
  const explain = (error) => {
    parts.error.textContent = !error ? "" : sentence(error, lang) ?? say("broken", error.message);
  };
  const life = new AbortController(); // of this view of the explorer
  const { start, status, error, body, rounded } = parts;
  const whole = node("div", {
    class: "llm-explorer",
    role: "group",
    "aria-label": say("title"), // a page may have two of a kind
    "data-lm-suppress-shortcuts": "true", // JupyterLab's Shift+Enter would run the cell again and begin anew
  });
  const marked = marking(whole);
  // Changes what is there; the keyboard goes to `next` if it was in this explorer.
  const changed = (act, next) => {
    const held = whole.contains(document.activeElement);
    act();
    if (held) next()?.focus({ preventScroll: true });
  };
  const run = async () => {
    explain(null);
    const engine = await loaded(model, say, parts, { weights, life: life.signal, changed });
    life.signal.addEventListener("abort", engine.close);
    const attempt = (act) => attempting(marked(act), explain, life.signal);
    const { element, stop } = build({ model, say, engine, attempt });
    if (stop) life.signal.addEventListener("abort", stop);
    const show = () => [body.replaceChildren(element), start.replaceChildren()];
    changed(show, () => body.querySelector("textarea, input, button"));
    if (weights) rounded.textContent = say("rounded");
  };
  const offer = () => {
    const label = say("start", (model.get("size_bytes") / 1e6).toFixed(1));
    const begin = change(button(label, () => run().catch(failed)), { name: "start" });
    changed(() => start.replaceChildren(begin), () => begin);
    status.textContent = say("still");
  };
  const failed = (problem) => {
    if (life.signal.aborted) return;
    offer();
    if (problem.name !== "AbortError") explain(problem);
  };
  body.append(still(model, say));
  if (canOpen(model)) offer();
  else status.textContent = sentence({ key: "elsewhere", values: [] }, lang);
  whole.append(start, status, error, body, rounded);
  el.replaceChildren(whole);
  return () => life.abort();
}

// Opens the model with a progress bar and a button that gives up.
async function loaded(model, say, { start, status }, { weights, life, changed }) {
  const giving = new AbortController();
  const signal = AbortSignal.any([giving.signal, life]);
  const bar = node("progress", { max: 1, "aria-label": say("waiting") });
  const cancel = button(say("cancel"), () => giving.abort());
  changed(() => start.replaceChildren(bar, cancel), () => cancel);
  status.textContent = say("waiting");
  const patience = setTimeout(() => model.send && (status.textContent = say("patience")), PATIENCE_MS);
  const tell = (share) => {
    clearTimeout(patience);
    bar.value = share;
    status.textContent = say("loading", Math.round(100 * share));
  };
  try {
    const engine = await openModel(model, { tell, signal, weights });
    status.textContent = "";
    return engine;
  } finally {
    clearTimeout(patience);
  }
}

// The refusal may come from the worker, or from another explorer's copy of its class: its key tells.
function sentence({ key, values }, lang) {
  return key in REFUSALS ? speaker(REFUSALS, lang)(key, ...values) : null;
}

// Gives a function that makes acts mark the element as busy while one of them takes longer than a moment.
function marking(element) {
  let [running, moment] = [0, null];
  return (act) => async (...given) => {
    if (!running++) moment = setTimeout(() => element.setAttribute("aria-busy", "true"), MOMENT_MS);
    try {
      return await act(...given);
    } finally {
      if (!--running) {
        clearTimeout(moment);
        element.removeAttribute("aria-busy");
      }
    }
  };
}

function attempting(act, explain, signal) {
  return async (...given) => {
    try {
      explain(null);
      return await act(...given);
    } catch (error) {
      if (!signal.aborted) explain(error);
    }
  };
}

// Calls `act` with the newest request only: while one is being answered, later ones replace each other.
export function newest(act) {
  let [busy, next] = [null, null];
  const work = async () => {
    try {
      while (next) {
        const given = next;
        next = null;
        await act(...given);
      }
    } finally {
      busy = null;
    }
  };
  return (...given) => {
    next = given;
    return (busy ??= work());
  };
}
