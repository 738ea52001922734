// Rows of buttons of which one is in the tab order; the arrow keys move between them.

// A listener for keydown. `cells` are rows of buttons, `tell` hears the row and the column that are moved to.
export function arrows(cells, tell = () => {}) {
  return (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const row = cells.findIndex((one) => one.includes(event.target));
    if (!step || row < 0) return;
    const to = [row + step[0], cells[row].indexOf(event.target) + step[1]];
    const next = cells[to[0]]?.[to[1]];
    if (!next) return;
    event.preventDefault();
    enter(cells, ...to);
    next.focus();
    tell(...to);
  };
}

// Puts one cell into the tab order instead of the one that was.
export function enter(cells, row, column) {
  for (const one of cells.flat()) one.tabIndex = -1;
  cells[row][column].tabIndex = 0;
}
