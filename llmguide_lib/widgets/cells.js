// A table of buttons with a text each: a click or Enter acts on one, the arrow keys go to the cells beside it.

import { change, node } from "./dom.js";
import { arrows, enter, placeOf } from "./grid.js";

// `tell` hears the row and column of the cell that was clicked; if `named`, a row's name is a button too, of column -1.
// The table scrolls sideways where it is too wide; its title stands above and does not.
export function cellTable(tell, named = false) {
  const [head, body] = [node("tr"), node("tbody")];
  const table = node("table", { class: "llm-cells" }, node("thead", {}, head), body);
  const title = node("p", { class: "llm-heading" });
  const scroll = node("div", { class: "llm-wide" }, table);
  const buttons = []; // rows of them, with the name of the row if it is one; always the same list, as `arrows` keeps it
  const entitle = (text) => {
    title.textContent = text;
    table.setAttribute("aria-label", text);
  };
  // rows: [{name, label, cells: [{text, attributes}]}], as many cells as columns; a name's label is its attribute.
  const show = (columns, rows) => {
    if (head.cells.length !== columns.length + 1 || body.rows.length !== rows.length) build(columns, rows);
    columns.forEach((text, at) => write(head.cells[at + 1], text));
    rows.forEach(({ name, label, cells }, r) => {
      if (named) change(write(buttons[r][0], name), { "aria-label": label });
      else write(body.rows[r].cells[0], name);
      cells.forEach(({ text, attributes }, c) => change(write(buttons[r][c + named], text), attributes));
    });
  };
  const build = (columns, rows) => {
    const held = placeOf(buttons, buttons.flat().find((one) => one.tabIndex === 0)) ?? [0, 0];
    const cell = () => node("button", { type: "button", tabindex: -1 });
    const line = () =>
      node("tr", {}, node("th", { scope: "row" }, ...(named ? [cell()] : [])), ...columns.map(() => node("td", {}, cell())));
    head.replaceChildren(node("td"), ...columns.map(() => node("th", { scope: "col" })));
    body.replaceChildren(...rows.map(line));
    buttons.splice(0, Infinity, ...[...body.rows].map((row) => [...row.querySelectorAll("button")]));
    enter(buttons, Math.min(held[0], rows.length - 1), Math.min(held[1], columns.length - !named));
  };
  const click = ({ target }) => {
    const place = placeOf(buttons, target.closest("button"));
    if (!place) return;
    enter(buttons, ...place);
    tell(place[0], place[1] - named);
  };
  change(body, { click, keydown: arrows(buttons) });
  // Puts a cell into sight, and into the tab order unless the reader has gone on to another cell in the meantime.
  const choose = (r, c) => {
    if (!body.contains(body.getRootNode().activeElement)) enter(buttons, r, c + named);
    reveal(scroll, body.rows[r], c + 1);
  };
  return { element: node("div", {}, title, scroll), scroll, entitle, show, choose };
}

// Moves the table sideways, not the page, until the cell stands beside the names of the rows, which do not move.
function reveal(scroll, row, at) {
  const [cell, name, frame] = [row.cells[at], row.cells[0], scroll].map((one) => one.getBoundingClientRect());
  const hidden = Math.min(0, cell.left - name.right) || Math.max(0, cell.right - frame.right);
  if (hidden) scroll.scrollLeft += hidden;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}
