// The tree of a beam search as a drawing: a column for each length, the best candidate on top. Candidates are buttons;
// the arrow keys move along the tree.

import { short, visible } from "./chips.js";
import { change, node, shape } from "./dom.js";
import { written } from "./numbers.js";

const [WIDTH, HEIGHT, GAP_X, GAP_Y] = [84, 34, 22, 8];
const LETTERS = 10; // of a token in a box
const MARKS = { kept: "", dropped: "×", ended: "■" };

// Where a candidate is drawn; the text itself stands before the first column.
export function corner(column, row) {
  return { x: (column + 1) * (WIDTH + GAP_X), y: row * (HEIGHT + GAP_Y) + 2 };
}

// The candidate that an arrow key leads to, as [column, row], or null. Left is the parent, right the best child.
export function neighbour(levels, [column, row], key) {
  const here = levels[column][row];
  const child = (levels[column + 1] ?? []).findIndex(({ parent }) => parent === row);
  const to = {
    ArrowLeft: column ? [column - 1, here.parent] : null,
    ArrowRight: child < 0 ? null : [column + 1, child],
    ArrowUp: row ? [column, row - 1] : null,
    ArrowDown: row + 1 < levels[column].length ? [column, row + 1] : null,
  };
  return to[key] ?? null;
}

// The candidates from the first one to this, as rows of their columns.
export function pathTo(levels, [column, row]) {
  const path = [row];
  for (let at = column; at > 0; at--) path.unshift(levels[at][path[0]].parent);
  return path;
}

// The rows of a text in the columns, as far as the tree has it.
export function rowsOf(levels, ids) {
  const rows = [];
  for (const [column, id] of ids.entries()) {
    const parent = rows.at(-1);
    const row = (levels[column] ?? []).findIndex((one) => one.id === id && (!column || one.parent === parent));
    if (row < 0) break;
    rows.push(row);
  }
  return rows;
}

// `choose` hears [column, row]. `name` says what a candidate is, for those who do not see the drawing.
export function tree({ label, choose, name, pieces }) {
  const svg = shape("svg", { class: "llm-tree", role: "group", "aria-label": label });
  const element = node("div", { class: "llm-wide" }, svg);
  let [levels, drawn] = [[], []];
  const place = (target) => {
    const column = drawn.findIndex((one) => one.includes(target));
    return column < 0 ? null : [column, drawn[column].indexOf(target)];
  };
  change(svg, {
    click: ({ target }) => {
      const found = place(target.closest("g"));
      if (found) choose(found);
    },
    keydown: (event) => {
      const here = place(event.target);
      const to = here && (["Enter", " "].includes(event.key) ? here : neighbour(levels, here, event.key));
      if (!to) return;
      event.preventDefault();
      drawn[to[0]][to[1]].focus();
      choose(to);
    },
  });
  // Draws anew; `greedy` and `best` are rows of columns.
  const show = (given, { start, greedy, best }) => {
    levels = given;
    const lines = [];
    drawn = levels.map((level, column) =>
      level.map((one, row) => {
        const marks = { greedy: greedy[column] === row, best: best[column] === row };
        lines.push(edge(one, column, row, marks));
        return box(one, { column, row, marks, text: pieces[one.id], name: name(one, column) });
      }),
    );
    const rows = Math.max(1, ...levels.map((level) => level.length));
    const { x, y } = corner(levels.length, rows);
    change(svg, { width: x - GAP_X + 2, height: y });
    svg.replaceChildren(...lines, root(start), ...drawn.flat());
  };
  // Marks what is chosen and the way to it, without drawing, so that the keyboard stays where it is.
  const mark = ([column, row]) => {
    const path = pathTo(levels, [column, row]);
    drawn.forEach((level, at) =>
      level.forEach((one, other) => {
        const here = at === column && other === row;
        change(one, { tabindex: here ? 0 : -1, "aria-pressed": String(here) });
        one.classList.toggle("llm-way", path[at] === other);
      }),
    );
  };
  return { element, show, mark };
}

function box({ fate, sum, logProbability }, { column, row, marks, text, name }) {
  const { x, y } = corner(column, row);
  const kind = `llm-node llm-${fate}${marks.greedy ? " llm-greedy" : ""}${marks.best ? " llm-best" : ""}`;
  const given = { class: kind, role: "button", tabindex: -1, "aria-label": name, transform: `translate(${x}, ${y})` };
  const share = `${(100 * Math.exp(logProbability)).toFixed(0)}%`;
  return shape(
    "g",
    given,
    shape("rect", { width: WIDTH, height: HEIGHT, rx: 4 }),
    shape("text", { x: 6, y: 14 }, short(visible(text), LETTERS)),
    shape("text", { x: 6, y: 28, class: "llm-small" }, written(sum, 2)),
    shape("text", { x: WIDTH - 6, y: 28, class: "llm-small", "text-anchor": "end" }, `${MARKS[fate]} ${share}`),
  );
}

function edge({ parent, fate }, column, row, marks) {
  const from = column ? corner(column - 1, parent) : corner(-1, 0);
  const to = corner(column, row);
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
  const bend = GAP_X / 2;
  const kind = `llm-edge llm-${fate}${marks.greedy ? " llm-greedy" : ""}${marks.best ? " llm-best" : ""}`;
  return shape("path", { d: `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, class: kind });
}

function root(text) {
  const { x, y } = corner(-1, 0);
  return shape(
    "g",
    { class: "llm-node llm-root", transform: `translate(${x + 1}, ${y})` },
    shape("rect", { width: WIDTH, height: HEIGHT, rx: 4 }),
    shape("text", { x: 6, y: 21 }, short(visible(text), LETTERS)),
  );
}
