// A table whose cells are buttons. A click or Enter acts on one; the arrow keys go to the cells beside it.

import { change, node } from "./dom.js";

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

// `tell` hears the row and column of the cell that was clicked; if `named`, a row's name is a button too, of column -1.
// The table scrolls sideways where it is too wide; its title stands above and does not.
export function grid(tell, named = false) {
  const [head, body] = [node("tr"), node("tbody")];
  const table = node("table", { class: "llm-cells" }, node("thead", {}, head), body);
  const title = node("p", { class: "llm-title" });
  const scroll = node("div", { class: "llm-scroll" }, table);
  let here = [0, 0]; // the one cell that the tab key reaches
  const cells = () => [...body.rows].map((row) => [...row.querySelectorAll("button")]);
  const placeOf = (cell) => cells().flatMap((row, r) => (row.includes(cell) ? [[r, row.indexOf(cell)]] : []))[0];
  const reach = ([r, c]) => {
    here = [r, c];
    cells().forEach((row, at) => row.forEach((cell, column) => (cell.tabIndex = at === r && column === c ? 0 : -1)));
  };
  const entitle = (text) => {
    title.textContent = text;
    table.setAttribute("aria-label", text);
  };
  // Moves the table sideways, not the page, until the cell is in sight beside the names of the rows.
  const reveal = (r, c) => {
    const row = body.rows[r];
    const [cell, name, frame] = [row.cells[c + 1], row.cells[0], scroll].map((one) => one.getBoundingClientRect());
    const hidden = Math.min(0, cell.left - name.right) || Math.max(0, cell.right - frame.right);
    if (hidden) scroll.scrollLeft += hidden;
  };
  // rows: [{name, label, cells: [{text, attributes}]}], as many cells as columns; a name's label is its attribute.
  const show = (columns, rows) => {
    if (head.cells.length !== columns.length + 1 || body.rows.length !== rows.length) build(columns, rows);
    columns.forEach((text, at) => write(head.cells[at + 1], text));
    rows.forEach(({ name, label, cells }, r) => {
      const row = body.rows[r];
      write(named ? row.cells[0].firstChild : row.cells[0], name);
      if (named) row.cells[0].firstChild.ariaLabel = label;
      cells.forEach(({ text, attributes }, c) => change(write(row.cells[c + 1].firstChild, text), attributes));
    });
  };
  const build = (columns, rows) => {
    const cell = () => node("button", { type: "button", tabindex: -1 });
    const line = () =>
      node("tr", {}, node("th", { scope: "row" }, ...(named ? [cell()] : [])), ...columns.map(() => node("td", {}, cell())));
    head.replaceChildren(node("td"), ...columns.map(() => node("th", { scope: "col" })));
    body.replaceChildren(...rows.map(line));
    reach([Math.min(here[0], rows.length - 1), Math.min(here[1], columns.length - !named)]);
  };
  change(body, {
    click: ({ target }) => {
      const place = placeOf(target.closest("button"));
      if (!place) return;
      reach(place);
      tell(place[0], place[1] - named);
    },
    keydown: (event) => {
      const [r, c] = placeOf(event.target.closest("button")) ?? here;
      const [down, right] = STEPS[event.key] ?? [];
      const next = down === undefined ? null : cells()[r + down]?.[c + right];
      if (!next) return;
      event.preventDefault();
      reach([r + down, c + right]);
      next.focus();
    },
  });
  const choose = (r, c) => {
    reach([r, c + named]);
    reveal(r, c);
  };
  return { element: node("div", {}, title, scroll), scroll, entitle, show, choose };
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}
