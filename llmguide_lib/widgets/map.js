// A map of attention weights: row = who looks, column = at whom; the darker, the larger.

import { short, visible } from "./chips.js";
import { change, node, shape } from "./dom.js";

const BLUE = [40, 125, 195]; // seen on light and on dark, so that nothing must be painted again when the theme changes
const LARGEST = 20; // pixels of a cell
const WIDEST = 420; // of a map with all its cells
const READABLE = 10; // the smallest cell beside which a token can be written
const LETTER = 6.7; // pixels of width

// Paints the weights, `size` in each row, as one pixel each. Their square roots, or small ones would not be seen.
export function paint(canvas, weights, size) {
  const picture = new ImageData(size, weights.length / size);
  weights.forEach((weight, at) => picture.data.set([...BLUE, Math.round(255 * Math.sqrt(weight))], 4 * at));
  Object.assign(canvas, { width: picture.width, height: picture.height });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// The large map, with tokens beside it if there is room. `choose` hears the row that is clicked, `point` the row and
// column under the pointer (or null).
export function largeMap({ choose, point }) {
  const canvas = node("canvas");
  let shown = { svg: null, size: 0, cell: 1, margin: 0 };
  const cellAt = (event) => {
    if (!shown.svg) return null;
    const { svg, size, cell, margin } = shown;
    const box = svg.getBoundingClientRect();
    const [s, t] = [event.clientX - box.left, event.clientY - box.top].map((value) => Math.floor((value - margin) / cell));
    return t >= 0 && t < size && s < size ? { t, s } : null;
  };
  const listen = {
    click: (event) => cellAt(event) && choose(cellAt(event).t),
    pointermove: (event) => point(cellAt(event)?.s >= 0 ? cellAt(event) : null),
    pointerleave: () => point(null),
  };
  // It listens itself, as the drawing in it is replaced under the pointer, which then leaves nothing that heard it come.
  const element = node("div", { class: "llm-wide llm-map", role: "group", tabindex: 0, ...listen }); // scrolls by keyboard
  const show = ({ weights, pieces, asking, label }) => {
    const size = pieces.length;
    const cell = Math.max(2, Math.min(LARGEST, Math.floor(WIDEST / size)));
    const names = cell >= READABLE ? pieces.map((piece) => short(visible(piece))) : [];
    const margin = 8 + LETTER * Math.max(0, ...names.map((name) => [...name].length));
    paint(canvas, weights, size);
    const width = margin + size * cell + 2;
    const image = { href: canvas.toDataURL(), x: margin, y: margin, width: size * cell, height: size * cell };
    const row = { x: margin, y: margin + asking * cell, width: size * cell, height: cell, class: "llm-row" };
    const frame = shape("rect", { x: margin, y: margin, width: size * cell, height: size * cell, class: "llm-frame" });
    const svg = shape("svg", { width, height: width, role: "img", "aria-label": label });
    svg.append(frame, shape("image", { ...image, preserveAspectRatio: "none" }), shape("rect", row), ...labels(names, { asking, cell, margin }));
    shown = { svg, size, cell, margin };
    change(element, { "aria-label": label });
    element.replaceChildren(svg);
  };
  return { element, show };
}

function labels(names, { asking, cell, margin }) {
  return names.flatMap((text, place) => {
    const middle = margin + (place + 0.5) * cell;
    const kind = place === asking ? "llm-asking" : null;
    return [
      shape("text", { x: margin - 5, y: middle + 4, "text-anchor": "end", class: kind }, text),
      shape("text", { transform: `translate(${middle + 4}, ${margin - 5}) rotate(-90)` }, text),
    ];
  });
}
