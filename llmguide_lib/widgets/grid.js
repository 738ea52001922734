// Rows of buttons of which one is in the tab order; the arrow keys move between them.

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// A listener for keydown. `cells` are rows of buttons, `tell` hears the row and the column that are moved to.
export function arrows(cells, tell = () => {}) {
  return (event) => {
    const step = STEPS[event.key];
    const here = placeOf(cells, event.target);
    if (!step || !here) return;
    const to = [here[0] + step[0], here[1] + step[1]];
    const next = cells[to[0]]?.[to[1]];
    if (!next) return;
    event.preventDefault();
    enter(cells, ...to);
    next.focus();
    tell(...to);
  };
}

// The row and the column of a button, or null.
export function placeOf(cells, button) {
  const row = cells.findIndex((one) => one.includes(button));
  return row < 0 ? null : [row, cells[row].indexOf(button)];
}

// Puts one cell into the tab order instead of the one that was.
export function enter(cells, row, column) {
  for (const one of cells.flat()) one.tabIndex = -1;
  cells[row][column].tabIndex = 0;
}
