// Tokens as a row of small buttons, and how a token is written so that all of it can be seen.

import { change, node } from "./dom.js";

const SPELLED = { " ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍" };

// Blanks and line ends have a sign each; what else does not print is spelled by its number.
export function visible(piece) {
  return piece
    .replace(/[ \n\t\r]/g, (blank) => SPELLED[blank])
    .replace(/[\p{C}\p{Z}]/gu, (hidden) => `⟨U+${hidden.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

// For where there is little room.
export function short(text, most = 11) {
  return [...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text;
}

// Tokens that cannot be chosen, of a stored result; `chosen` and `adorn` as in `show` below.
export function stillChips(label, pieces, chosen = -1, adorn = undefined) {
  const row = chips(label, () => {});
  row.show(pieces, chosen, adorn);
  for (const chip of row.element.children) chip.disabled = true;
  return row.element;
}

// One of the tokens is chosen; a click chooses another, and `tell` hears its place. Arrow keys go to another, and `walk`
// hears that; by default they choose it. `adorn` of `show` may give a token, by its place, what is written `below` it
// and further attributes.
export function chips(label, tell, walk = tell) {
  const element = node("div", { class: "llm-chips", role: "group", "aria-label": label });
  const at = (chip) => [...element.children].indexOf(chip);
  const show = (pieces, chosen, adorn = () => ({})) => {
    while (element.children.length > pieces.length) element.lastChild.remove();
    pieces.forEach((piece, place) => {
      const chip = element.children[place] ?? element.appendChild(node("button", { type: "button" }));
      const here = place === chosen;
      const { below = "", ...attributes } = adorn(place);
      const written = [visible(piece), ...(below ? [node("small", {}, below)] : [])];
      if (chip.textContent !== written.map((one) => one.textContent ?? one).join("")) chip.replaceChildren(...written);
      change(chip, { "aria-pressed": String(here), tabindex: here || (chosen < 0 && !place) ? 0 : -1, ...attributes });
    });
  };
  change(element, {
    click: ({ target }) => at(target.closest("button")) >= 0 && tell(at(target.closest("button"))),
    keydown: (event) => {
      const last = element.children.length - 1;
      const here = at(event.target);
      const place = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
      if (here < 0 || !(place >= 0 && place <= last)) return;
      event.preventDefault();
      element.children[place].focus();
      walk(place);
    },
  });
  return { element, show };
}
