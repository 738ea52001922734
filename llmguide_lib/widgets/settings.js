// The controls of a sampler: temperature, top-k, top-p, min-p and seed.

import { node, slider } from "./dom.js";
import { REFUSALS } from "./refusals.js";
import { distribution, greedy } from "./sample.js";
import { speaker } from "./texts.js";

const CONTROLS = {
  temperature: { en: "Temperature", zh: "温度" },
  greedy: { en: "0: the most likely", zh: "0：只取最可能的" },
  all: { en: "all", zh: "全部" },
  off: { en: "off", zh: "不用" },
  seed: { en: "Seed", zh: "随机种子" },
};
const LARGEST_TOP_K = 50; // one step further on the slider means all tokens
const LARGEST_SEED = 2 ** 32 - 1;
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

// Elements that call tell({name: value}) when one is moved; `set` shows what the model stores.
export function settings(model, tell) {
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
  const seed = seedField(say("seed"), model, tell);
  const set = () => {
    for (const [name, one] of Object.entries(sliders)) one.set(name === "top_k" ? model.get(name) || LARGEST_TOP_K + 1 : model.get(name));
    seed.set();
  };
  return { elements: [...Object.values(sliders).map((one) => one.element), ...seed.elements], set };
}

// What is no seed is refused with a sentence beside the field, which then shows the seed that stays.
function seedField(label, model, tell) {
  const bounds = { min: 0, max: LARGEST_SEED, step: 1, required: true };
  const input = node("input", { type: "number", ...bounds, class: "llm-number" });
  const refusal = node("p", { class: "llm-error", role: "alert", hidden: true });
  const set = () => (input.value = model.get("seed"));
  input.addEventListener("change", () => {
    const fine = input.checkValidity();
    refusal.hidden = fine;
    refusal.textContent = fine ? "" : speaker(REFUSALS, model.get("lang"))("seed", LARGEST_SEED, model.get("seed"));
    if (fine) tell({ seed: input.valueAsNumber });
    set();
  });
  return { elements: [node("label", { class: "llm-field" }, node("span", {}, label), input), refusal], set };
}
