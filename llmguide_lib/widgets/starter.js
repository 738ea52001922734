// The frame of every explorer that runs a model: a still picture and a start button, then the explorer itself.

import { button, node } from "./dom.js";
import { REFUSALS } from "./refusals.js";
import { canOpen, openModel } from "./session.js";
import { speaker } from "./texts.js";
import { awaited } from "./waiting.js";

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
  computing: { en: "Computing…", zh: "正在计算……" },
  broken: { en: "Something went wrong: {0}. Start again.", zh: "出错了：{0}。请重新启动。" },
};
const PATIENCE_MS = 4000;

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
  const run = async () => {
    explain(null);
    const engine = await loaded(model, say, parts, { weights, life: life.signal });
    life.signal.addEventListener("abort", engine.close);
    const attempt = (act) => attempting(act, explain, life.signal);
    const { element, stop } = build({ model, say, engine: withSign(engine, say, parts), attempt });
    if (stop) life.signal.addEventListener("abort", stop);
    handOver(parts.start, () => {
      parts.body.replaceChildren(element);
      parts.start.replaceChildren();
      return parts.body.querySelector("textarea, input, button");
    });
    if (weights) parts.rounded.textContent = say("rounded");
  };
  const offer = () => {
    const label = say("start", (model.get("size_bytes") / 1e6).toFixed(1));
    parts.start.replaceChildren(button(label, () => run().catch(failed)));
    parts.status.textContent = say("still");
  };
  const failed = (error) => {
    if (life.signal.aborted) return;
    handOver(parts.start, () => {
      offer();
      return parts.start.firstChild;
    });
    if (error.name !== "AbortError") explain(error);
  };
  parts.body.append(still(model, say));
  if (canOpen(model)) offer();
  else parts.status.textContent = sentence({ key: "elsewhere", values: [] }, lang);
  const { start, status, error, body, rounded } = parts;
  const frame = {
    class: "llm-explorer",
    role: "group",
    "aria-label": say("title"), // a page may have two of a kind
    "data-lm-suppress-shortcuts": "true", // JupyterLab's Shift+Enter would run the cell again and begin anew
  };
  el.replaceChildren(node("div", frame, start, status, error, body, rounded));
  return () => life.abort();
}

// The engine, with a sign of being asked: over the explorer, where it moves nothing.
function withSign(engine, say, { status, body }) {
  status.classList.add("llm-sign");
  const show = (waiting) => {
    body.setAttribute("aria-busy", String(waiting));
    status.textContent = waiting ? say("computing") : "";
  };
  return { ...engine, ask: awaited(engine.ask, show) };
}

// Calls `act`, which takes elements out of `place`; if the keyboard was on one of them, it goes to what `act` returns.
function handOver(place, act) {
  const held = place.matches(":focus-within");
  const next = act();
  if (held) next?.focus({ preventScroll: true });
}

// Opens the model with a progress bar and a button that gives up.
async function loaded(model, say, { start, status }, { weights, life }) {
  const giving = new AbortController();
  const signal = AbortSignal.any([giving.signal, life]);
  const bar = node("progress", { max: 1, "aria-label": say("waiting") });
  const cancel = button(say("cancel"), () => giving.abort());
  handOver(start, () => {
    start.replaceChildren(bar, cancel);
    return cancel;
  });
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
