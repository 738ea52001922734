// Answers messages about one model; engine.worker.js runs it in a worker, connection.js asks it from the page.
//
// A message is {id, job, ...} with one of the jobs below. The answers carry the same id and a `type`: "token" while a
// text is being generated and "level" while beams are, then "done" with the result, or "refused" with the key and values of
// a sentence.

import { attending } from "./attending.js";
import { beamSearch, greedyText } from "./beam.js";
import { Tokenizer } from "./bpe.js";
import { buildModel } from "./families.js";
import { continuation } from "./generate.js";
import { capture, intervention, together } from "./hooks.js";
import { readings } from "./lens.js";
import { hiddenStates, lens, scores } from "./model.js";
import { Refusal } from "./refusals.js";
import { distribution, sampler } from "./sample.js";
import { readWeights } from "./weights.js";

const JOBS = { load, encode, decode, vocabulary, cut, merges, generate, beams, forward, lenses, say, stop };
const MOST_CUT = 2000; // characters
const MOST_MERGED = 80; // bytes of a word whose merges are told one by one

// `tell` posts an answer. The returned function takes a message.
export function startEngine(tell) {
  const state = { model: null, tokenizer: null, running: new Map() };
  return async ({ id, job, ...request }) => {
    try {
      if (!Object.hasOwn(JOBS, job)) throw new Refusal("unknown", job, Object.keys(JOBS).join(", "));
      if (!state.tokenizer && job !== "load") throw new Refusal("unloaded");
      const result = await JOBS[job](state, request, { id, tell: (answer) => tell({ id, ...answer }) });
      tell({ id, type: "done", ...result });
    } catch (error) {
      const { key = null, values = [] } = error instanceof Refusal ? error : {};
      tell({ id, type: "refused", key, values, message: error.message });
    }
  };
}

// {weights: bytes, tokenizer: the object in tokenizer.json}; without a byte of weights there is a tokenizer only.
function load(state, { weights, tokenizer }) {
  const model = weights.length ? buildModel(readWeights(weights)) : null;
  state.tokenizer = new Tokenizer(tokenizer);
  state.model = model;
  const known = { special: Object.fromEntries(state.tokenizer.special), rules: state.tokenizer.merged.length };
  if (!model) return known;
  const { family, maxSeqLen, numHeads, causal, blocks } = model;
  return { family, maxSeqLen, numHeads, causal, numLayers: blocks.length, ...known };
}

// {text} -> the ids and what each of them spells
function encode({ tokenizer }, { text, allowedSpecial = [] }) {
  const ids = tokenizer.encode(text, allowedSpecial);
  return { ids, pieces: ids.map((id) => tokenizer.spell(id)) };
}

// {ids} -> their text
function decode({ tokenizer }, { ids }) {
  return { text: tokenizer.decode(ids) };
}

// -> what every id of the model spells; a model may have more than its tokenizer
function vocabulary({ model, tokenizer }) {
  const spelled = (_, id) => (tokenizer.tokens[id] ? tokenizer.spell(id) : `#${id}`);
  return { pieces: Array.from({ length: model?.vocabSize ?? tokenizer.tokens.length }, spelled) };
}

// {text} -> words, the pieces that are cut further: {text, tokens}, each token {id, bytes}
function cut({ tokenizer }, { text }) {
  const length = [...text].length;
  if (!length) throw new Refusal("empty");
  if (length > MOST_CUT) throw new Refusal("wide", length, MOST_CUT);
  const words = tokenizer.words(text);
  return { words: words.map((word) => ({ text: word.text, tokens: word.ids.map((id) => ({ id, bytes: [...tokenizer.bytes(id)] })) })) };
}

// {word} -> how it becomes tokens, merge by merge; null for one that is too long to be watched
function merges({ tokenizer }, { word }) {
  const long = new TextEncoder().encode(word).length > MOST_MERGED;
  return { steps: long ? null : tokenizer.steps(word) };
}

// {text, maxNewTokens, stopIds, sampling, interventions}; answers with every token, its text and its probability.
async function generate(state, request, { id, tell }) {
  const { model, tokenizer, running } = state;
  const ids = idsOf(state, request);
  const choose = sampler(request.sampling);
  const steps = continuation(model, ids, { ...request, choose, hooks: intervening(request, model) });
  const [made, text] = [[], tokenizer.stream()];
  await eachUntilStopped(running, id, steps, ({ id: token, logits }) => {
    made.push(token);
    tell({ type: "token", token, text: text.add(token), probability: distribution(logits)[token] });
  });
  return { prompt: ids, ids: made, rest: text.end() };
}

// {text or ids, numBeams, maxNewTokens, lengthPenalty, endId}; answers with every level of the tree and with the texts
// found so far, at the end with the greedy text.
async function beams(state, request, { id, tell }) {
  const { model, running } = state;
  const ids = idsOf(state, request);
  await eachUntilStopped(running, id, beamSearch(model, ids, request), (level) => tell({ type: "level", ...level }));
  return { prompt: ids, greedy: greedyText(model, ids, request) };
}

// {text or ids, places, interventions, attention}; answers with the arrays of the places and the logits of all positions.
// `attention` is what attending.js takes.
function forward(state, request) {
  const ids = idsOf(state, request);
  const model = attending(state.model, request.attention);
  const seen = capture(request.places ?? []);
  const states = hiddenStates(model, ids, { hooks: together(intervening(request, model), seen.hooks) });
  return { ids, found: seen.found, logits: scores(model, states) };
}

// {text or ids, interventions} -> the states before the first and after every layer, and what each of them says first
function lenses(state, request) {
  const ids = idsOf(state, request);
  return { ids, ...readings(state.model, ids, intervening(request, state.model)) };
}

// {states} -> the logits that these states would have as last ones, one after the other
function say({ model }, { states }) {
  return { logits: lens(model, states) };
}

// {target}: the id of the message whose text is to end here
function stop({ running }, { target }) {
  if (running.has(target)) running.set(target, false);
  return {};
}

// Between two steps messages are let in; one of them may stop these.
async function eachUntilStopped(running, id, steps, act) {
  running.set(id, true);
  try {
    for (const step of steps) {
      act(step);
      await messages();
      if (!running.get(id)) break;
    }
  } finally {
    running.delete(id);
  }
}

function idsOf({ model, tokenizer }, { ids, text, allowedSpecial = [] }) {
  if (!model) throw new Refusal("unloaded");
  const given = ids ?? tokenizer.encode(text, allowedSpecial);
  if (!given.length) throw new Refusal("empty");
  if (given.length > model.maxSeqLen) throw new Refusal("long", given.length, model.maxSeqLen);
  return given;
}

function intervening({ interventions = [] }, model) {
  return together(...interventions.map((one) => intervention(one, model)));
}

// Lets messages in that have arrived; a timer would wait for milliseconds.
function messages() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resume) => {
    port1.onmessage = () => {
      port1.close();
      resume();
    };
    port2.postMessage(null);
  });
}
