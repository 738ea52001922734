// A table of tokens with their probabilities as bars.

import { change, node } from "./dom.js";
import { visible } from "./chips.js";

export function percent(share) {
  return share > 0 && share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(1)}%`;
}

// Rows are {piece, shares}: one share for each column after the first; of these the last `drawn` are drawn as bars. `act`
// makes what a row begins with, a button for example; without it the token itself. A row that is `marked` stands out.
export function bars(caption, columns, drawn = 1) {
  const body = node("tbody");
  const head = node("tr", {}, ...columns.map((name) => node("th", { scope: "col" }, name)));
  const title = node("caption", {}, caption);
  const element = node("table", { class: "llm-bars" }, title, node("thead", {}, head), body);
  const show = (rows, act = ({ piece }) => visible(piece)) => {
    const made = rows.map((row) => {
      const numbers = row.shares.map((share) => node("td", {}, percent(share)));
      numbers.slice(-drawn).forEach((cell, at) => {
        change(cell, { class: "llm-share", style: `--share: ${row.shares.at(at - drawn)}` });
      });
      const kinds = [row.shares.at(-1) ? "" : "llm-left-out", row.marked ? "llm-marked" : ""].join(" ").trim();
      return node("tr", { class: kinds || null }, node("th", { scope: "row" }, act(row)), ...numbers);
    });
    const held = [...body.rows].findIndex((row) => row.contains(body.getRootNode().activeElement));
    body.replaceChildren(...made);
    body.rows[held]?.querySelector("button")?.focus({ preventScroll: true }); // the keyboard stays in its row
  };
  return { element, title, show };
}
