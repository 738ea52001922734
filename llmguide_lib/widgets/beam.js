// Beam search: what llmguide_lib.generation.beam_search does, with every candidate on the way kept to be looked at.

import { continuation } from "./generate.js";
import { Cache, hiddenStates, scores } from "./model.js";
import { highest } from "./numbers.js";
import { Refusal } from "./refusals.js";
import { greedy } from "./sample.js";

// The logarithms of the probabilities that these scores stand for.
export function logProbabilities(logits) {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = logits.reduce((total, value) => total + Math.exp(value - top), 0);
  return Float64Array.from(logits, (value) => value - top - Math.log(sum));
}

// One step: the best ways to go on, best first, from each beam's sum so far and the log probabilities after it. There
// are twice as many as beams, so that enough can go on if half of them end. Each has a `fate`: "kept", "ended" (only if
// it is among the best) or "dropped".
export function candidates(sums, rows, { numBeams, endId = null }) {
  const size = rows[0].length;
  const totals = new Float64Array(rows.length * size);
  rows.forEach((row, parent) => row.forEach((value, id) => (totals[parent * size + id] = sums[parent] + value)));
  let kept = 0;
  return highest(totals, 2 * numBeams).map((place, rank) => {
    const [parent, id] = [Math.floor(place / size), place % size];
    const ends = id === endId;
    const fate = ends && rank < numBeams ? "ended" : !ends && kept < numBeams ? "kept" : "dropped";
    kept += fate === "kept";
    return { parent, id, logProbability: rows[parent][id], sum: totals[place], fate };
  });
}

// Yields for each length {level, found}: the candidates, `parent` being a place among the level before, and the texts
// of a search that would end here, best first: {ids, sum, score, path, ended}, `path` naming a place in every level.
// The last `found` is the search's. A score is sum / length ** lengthPenalty.
export function* beamSearch(model, ids, { numBeams, maxNewTokens, lengthPenalty = 1, endId = null }) {
  check(model, ids, { numBeams, maxNewTokens, lengthPenalty });
  const step = candidateStep(model, ids, { numBeams, maxNewTokens, endId });
  const scored = (beam, ended) => {
    const { ids: made, path, sum } = beam;
    return { ids: made, path, sum, ended, score: sum / made.length ** lengthPenalty };
  };
  let [beams, finished] = [[{ ids: [], path: [], sum: 0, cache: null }], []];
  for (let length = 1; length <= maxNewTokens; length++) {
    const { level, grown } = step(beams);
    finished.push(...grown.filter((_, place) => level[place].fate === "ended").map((one) => scored(one, true)));
    finished = byScore(finished).slice(0, numBeams);
    beams = grown.filter((_, place) => level[place].fate === "kept");
    const growing = beams.map((one) => scored(one, false));
    const over = finished.length === numBeams && growing[0].score <= finished.at(-1).score;
    yield { level, found: over ? finished : byScore([...finished, ...growing]) };
    if (over) return;
  }
}

// The text that always takes the most probable token, with the sum of its log probabilities.
export function greedyText(model, ids, { maxNewTokens, lengthPenalty = 1, endId = null }) {
  check(model, ids, { numBeams: 1, maxNewTokens, lengthPenalty });
  const made = [...continuation(model, ids, { choose: greedy, maxNewTokens, stopIds: [endId] })];
  const sum = made.reduce((total, { id, logits }) => total + logProbabilities(logits)[id], 0);
  return { ids: made.map(({ id }) => id), sum, score: sum / made.length ** lengthPenalty };
}

// A function that reads the beams' last tokens and gives {level, grown}: the candidates and the beams they would be.
function candidateStep(model, prompt, { numBeams, maxNewTokens, endId }) {
  const read = (beam) => {
    const cache = beam.cache?.copy() ?? new Cache(model, prompt.length + maxNewTokens);
    const states = hiddenStates(model, beam.cache ? beam.ids.slice(-1) : prompt, { cache });
    return { cache, row: logProbabilities(scores(model, states.subarray(-model.width))) };
  };
  return (beams) => {
    const after = beams.map(read);
    const best = candidates(beams.map(({ sum }) => sum), after.map(({ row }) => row), { numBeams, endId });
    const level = best.map((one) => ({ ...one, parent: beams[one.parent].path.at(-1) ?? -1 }));
    const grown = best.map(({ parent, id, sum }, place) => ({
      ids: [...beams[parent].ids, id],
      path: [...beams[parent].path, place],
      sum,
      cache: after[parent].cache,
    }));
    return { level, grown };
  };
}

function byScore(texts) {
  return texts.toSorted((a, b) => b.score - a.score);
}

function check(model, ids, { numBeams, maxNewTokens, lengthPenalty }) {
  if (!model.causal) throw new Refusal("bothWays");
  const rules = [
    ["numBeams", numBeams, Number.isInteger(numBeams) && numBeams >= 1, "1, 2, …"],
    ["maxNewTokens", maxNewTokens, Number.isInteger(maxNewTokens) && maxNewTokens >= 1, "1, 2, …"],
    ["lengthPenalty", lengthPenalty, Number.isFinite(lengthPenalty), "< ∞"],
  ];
  for (const [name, value, fine, rule] of rules) if (!fine) throw new Refusal("range", name, value, rule);
  if (ids.length + maxNewTokens > model.maxSeqLen) throw new Refusal("room", ids.length, maxNewTokens, model.maxSeqLen);
}
