// Answers messages about one model; engine.worker.js runs it in a worker, connection.js asks it from the page.
//
// A message is {id, job, ...} with one of the jobs below. The answers carry the same id and a `type`: "token" while a
// text is being generated, then "done" with the result, or "refused" with the key and values of a sentence.

import { Tokenizer } from "./bpe.js";
import { buildModel } from "./families.js";
import { continuation } from "./generate.js";
import { capture, intervention, together } from "./hooks.js";
import { readings } from "./lens.js";
import { hiddenStates, lens, scores } from "./model.js";
import { Refusal } from "./refusals.js";
import { distribution, sampler } from "./sample.js";
import { readWeights } from "./weights.js";

const JOBS = { load, encode, decode, vocabulary, generate, forward, lenses, say, stop };

// `tell` posts an answer. The returned function takes a message.
export function startEngine(tell) {
  const state = { model: null, tokenizer: null, running: new Map() };
  return async ({ id, job, ...request }) => {
    try {
      if (!Object.hasOwn(JOBS, job)) throw new Refusal("unknown", job, Object.keys(JOBS).join(", "));
      if (!state.model && job !== "load") throw new Refusal("unloaded");
      const result = await JOBS[job](state, request, { id, tell: (answer) => tell({ id, ...answer }) });
      tell({ id, type: "done", ...result });
    } catch (error) {
      const { key = null, values = [] } = error instanceof Refusal ? error : {};
      tell({ id, type: "refused", key, values, message: error.message });
    }
  };
}

// {weights: bytes, tokenizer: the object in tokenizer.json}
function load(state, { weights, tokenizer }) {
  const model = buildModel(readWeights(weights));
  state.tokenizer = new Tokenizer(tokenizer);
  state.model = model;
  const { family, maxSeqLen, numHeads, blocks } = model;
  return { family, maxSeqLen, numHeads, numLayers: blocks.length, special: Object.fromEntries(state.tokenizer.special) };
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
  return { pieces: Array.from({ length: model.vocabSize }, spelled) };
}

// {text, maxNewTokens, stopIds, sampling, interventions}; answers with every token, its text and its probability.
async function generate(state, request, { id, tell }) {
  const { model, tokenizer, running } = state;
  const ids = idsOf(state, request);
  const choose = sampler(request.sampling);
  const steps = continuation(model, ids, { ...request, choose, hooks: intervening(request, model) });
  const [made, text] = [[], tokenizer.stream()];
  running.set(id, true);
  try {
    for (const { id: token, logits } of steps) {
      made.push(token);
      tell({ type: "token", token, text: text.add(token), probability: distribution(logits)[token] });
      await messages();
      if (!running.get(id)) break;
    }
  } finally {
    running.delete(id);
  }
  return { prompt: ids, ids: made, rest: text.end() };
}

// {text or ids, places, interventions, lens}; answers with the arrays of the places, the logits of all positions and,
// if `lens` is true, what every layer would say.
function forward(state, request) {
  const { model } = state;
  const ids = idsOf(state, request);
  const seen = capture([...new Set([...(request.places ?? []), ...(request.lens ? ["block"] : [])])]);
  const states = hiddenStates(model, ids, { hooks: together(intervening(request, model), seen.hooks) });
  const layers = request.lens ? seen.found.block.map(({ values }) => lens(model, values)) : [];
  return { ids, found: seen.found, logits: scores(model, states), layers };
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

function idsOf({ model, tokenizer }, { ids, text, allowedSpecial = [] }) {
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
