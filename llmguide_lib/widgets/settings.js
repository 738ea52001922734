// The controls of a sampler: temperature, top-k, top-p, min-p and seed.

import { node, slider, store } from "./dom.js";
import { Refusal } from "./refusals.js";
import { distribution, greedy } from "./sample.js";
import { speaker } from "./texts.js";

const CONTROLS = {
  temperature: { en: "Temperature", zh: "温度" },
  greedy: { en: "0: the most likely", zh: "0：只取最可能的" },
  all: { en: "all", zh: "全部" },
  off: { en: "off", zh: "不用" },
  seed: { en: "Seed", zh: "随机种子" },
  nothing: { en: "not a number", zh: "空的" },
  whole: { en: "a whole number from 0 to {0}", zh: "0 到 {0} 的整数" },
};
const LARGEST_SEED = 2 ** 32 - 1;
const LARGEST_TOP_K = 50; // one step further on the slider means all tokens
export const SETTINGS = ["temperature", "top_k", "top_p", "min_p", "seed"];

// What sample.js takes, from the values that the explorer stores, in which 0 tokens are all of them.
export function samplingOf(model) {
  const [temperature, topK, topP, minP, seed] = SETTINGS.map((name) => model.get(name));
  return { temperature, topK: topK || Infinity, topP, minP, seed };
}

// The probabilities with which a token is drawn; temperature 0 leaves the most probable one.
export function drawnFrom(logits, sampling) {
  if (sampling.temperature > 0) return distribution(logits, sampling);
  const certain = new Float64Array(logits.length);
  certain[greedy(logits)] = 1;
  return certain;
}

// Elements that store what is moved; `set` shows what is stored. `attempt` shows the sentence of what is refused.
export function settings(model, attempt) {
  const tell = (values) => store(model, values);
  const say = speaker(CONTROLS, model.get("lang"));
  const fixed = (value) => value.toFixed(2);
  const range = (label, name, bounds, words, stored = (value) => value) =>
    slider(label, { ...bounds, value: bounds.min, words }, (value) => tell({ [name]: stored(value) }));
  const sliders = {
    temperature: range(say("temperature"), "temperature", { min: 0, max: 2, step: 0.05 }, (value) =>
      value ? fixed(value) : say("greedy"),
    ),
    top_k: range(
      "Top-k",
      "top_k",
      { min: 1, max: LARGEST_TOP_K + 1, step: 1 },
      (value) => (value > LARGEST_TOP_K ? say("all") : String(value)),
      (value) => (value > LARGEST_TOP_K ? 0 : value),
    ),
    top_p: range("Top-p", "top_p", { min: 0.05, max: 1, step: 0.05 }, (value) => (value < 1 ? fixed(value) : say("all"))),
    min_p: range("Min-p", "min_p", { min: 0, max: 0.5, step: 0.01 }, (value) => (value ? fixed(value) : say("off"))),
  };
  const seed = node("input", { type: "number", min: 0, max: LARGEST_SEED, step: 1, class: "llm-number" });
  const sow = () => {
    const [typed, number] = [seed.value, Number(seed.value)];
    seed.value = model.get("seed");
    const fits = typed !== "" && Number.isInteger(number) && number >= 0 && number <= LARGEST_SEED;
    if (!fits) throw new Refusal("range", say("seed"), typed || say("nothing"), say("whole", LARGEST_SEED));
    tell({ seed: number });
  };
  seed.addEventListener("change", attempt(sow));
  const set = () => {
    for (const [name, one] of Object.entries(sliders)) one.set(name === "top_k" ? model.get(name) || LARGEST_TOP_K + 1 : model.get(name));
    seed.value = model.get("seed");
  };
  const elements = Object.values(sliders).map((one) => one.element);
  return { elements: [...elements, node("label", { class: "llm-field" }, node("span", {}, say("seed")), seed)], set };
}
