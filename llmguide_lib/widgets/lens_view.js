// Draws the logit lens: the table of layers and tokens, the candidates of one cell, and the switches.

import { percent } from "./bars.js";
import { SIGN } from "./blanks.js";
import { visible } from "./chips.js";
import { button } from "./dom.js";
import { highest, signed, written } from "./numbers.js";
import { distribution, logProbability } from "./sample.js";
import { FEED_FORWARD, partsOf } from "./switches.js";

const ROWS = 10;

// A decoder says what comes after a token, an encoder what stands at its place.
export function sideOf(model) {
  return model.get("mask_token") ? "at" : "after";
}

export function rowName(row, count, say) {
  if (!row) return say("embedding");
  return say(row === count - 1 ? "answer" : "layer", row - 1);
}

export function lensCell({ name, token, piece, share, chosen = null, moved = false }, model, say) {
  const attributes = {
    class: [chosen ? "llm-chosen" : "", moved ? "llm-moved" : ""].join(" ").trim() || null,
    style: `--weight: ${share}`,
    title: percent(share),
    "aria-pressed": chosen === null ? null : String(chosen),
    "aria-label": say(`cell_${sideOf(model)}`, name, visible(token), visible(piece), percent(share)),
  };
  return { text: visible(piece), attributes };
}

export function showState(state, context) {
  context.parts.reveal(true);
  showLens(state, context);
  showCandidates(state, context);
  showSwitches(state, context);
}

function showLens({ plain, changed }, { model, say, pieces, parts, chosen }) {
  const { ids } = plain;
  const { best, shares } = changed ?? plain;
  const rows = best.map((row, at) => {
    const name = rowName(at, best.length, say);
    const cell = (id, place) => {
      const here = at === chosen.row && place === chosen.place;
      const found = { name, token: pieces[ids[place]], piece: pieces[id], share: shares[at][place] };
      return lensCell({ ...found, chosen: here, moved: id !== plain.best[at][place] }, model, say);
    };
    return { name, cells: Array.from(row, cell) };
  });
  parts.lens.entitle(say(`lens_${sideOf(model)}`) + say("choose") + (changed ? say("moved", model.get("off").length) : ""));
  parts.lens.show(ids.map((id) => visible(pieces[id])), rows);
  parts.lens.choose(chosen.row, chosen.place);
}

function showCandidates({ plain, shown: { before, after }, watched }, context) {
  const { model, say, pieces, parts, chosen, numLayers } = context;
  const [own, left] = [before, after].map((logits) => logits && distribution(logits));
  const side = sideOf(model);
  const stands = plain.ids[chosen.place + (side === "after" ? 1 : 0)];
  const real = pieces[stands] === SIGN ? undefined : stands;
  const listed = highest(own, ROWS);
  for (const id of [watched, real]) if (id !== undefined && !listed.includes(id)) listed.push(id);
  const rows = listed.map((id) => ({ id, shares: left ? [own[id], left[id]] : [own[id]], marked: id === watched }));
  parts.alone.element.hidden = Boolean(left);
  parts.both.element.hidden = !left;
  const table = left ? parts.both : parts.alone;
  const name = rowName(chosen.row, numLayers + 1, say);
  table.title.textContent = say(`said_${side}`, name, visible(pieces[plain.ids[chosen.place]]));
  table.show(rows, ({ id, marked }) => {
    const piece = visible(pieces[id]);
    const made = button(id === real ? say(`real_${side}`, piece) : piece, () => parts.watch(id));
    made.setAttribute("aria-label", say("watch", piece));
    made.setAttribute("aria-pressed", String(marked));
    return made;
  });
  const told = logProbability(before, watched);
  const piece = visible(pieces[watched]);
  parts.note.textContent = left
    ? say("before", piece, percent(own[watched]), percent(left[watched]), signed(logProbability(after, watched) - told, 2))
    : say("now", piece, percent(own[watched]), written(told, 2));
}

export function showSwitches({ effects, watched, plain }, { model, say, pieces, numHeads, numLayers, parts, chosen }) {
  const off = model.get("off");
  const silent = (layer, part) => off.some((one) => one[0] === layer && one[1] === part);
  const kinds = partsOf(numHeads);
  const nameOf = (part) => (part === FEED_FORWARD ? say("feed") : say("head", part));
  const rows = Array.from({ length: numLayers }, (_, layer) => {
    const name = say("layer", layer);
    const cells = kinds.map((part, at) => {
      const [isOff, effect] = [silent(layer, part), effects?.[layer * kinds.length + at]];
      const condition = say(isOff ? "off" : "on");
      const key = effect === undefined ? "part" : "effect";
      return {
        text: effect === undefined ? condition : signed(effect, 2),
        attributes: {
          class: [isOff ? "llm-off" : "", effect > 0 ? "llm-against" : ""].join(" ").trim() || null,
          style: effect === undefined ? null : `--weight: ${Math.min(1, Math.abs(effect))}`,
          "aria-pressed": String(!isOff),
          "aria-label": say(key, name, nameOf(part), condition, effect === undefined ? "" : signed(effect, 2)),
        },
      };
    });
    const all = kinds.every((part) => silent(layer, part));
    return { name, label: say("toggle", name, say(all ? "off" : "on")), cells };
  });
  parts.switches.show(kinds.map(nameOf), rows);
  parts.reset.hidden = !off.length;
  const after = plain && visible(pieces[plain.ids[chosen.place]]);
  parts.measured.textContent = effects?.length ? say(`measured_${sideOf(model)}`, visible(pieces[watched]), after) : "";
}
