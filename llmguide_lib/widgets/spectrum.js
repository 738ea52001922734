// Two pictures of a matrix: its singular values as bars, and what each rank keeps of it as a curve.

import { shape } from "./dom.js";

const PLOT = { width: 480, height: 190, left: 52, right: 10, top: 10, bottom: 34 };
const RIGHT = PLOT.width - PLOT.right;
const BOTTOM = PLOT.height - PLOT.bottom;

export function plot() {
  return shape("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, class: "llm-plot", role: "img" });
}

// The first `rank` values stand out.
export function drawValues(svg, values, rank, title) {
  const wide = (RIGHT - PLOT.left) / values.length;
  const y = height(values[0]);
  const bar = (value, at) =>
    shape("rect", {
      x: PLOT.left + at * wide,
      y: y(value),
      width: Math.max(0.5, wide * 0.8),
      height: BOTTOM - y(value),
      class: at < rank ? "llm-bar-kept" : "llm-bar-missed",
    });
  svg.replaceChildren(
    ...values.map(bar),
    ...axes([0, values[0] / 2, values[0]].map((value) => [y(value), written(value)])),
    ...ranks(values.length, (place) => PLOT.left + (place - 0.5) * wide, title),
  );
}

// Curves of shares for the ranks from 1: the update's, and a random matrix's to compare with. Two places are marked: the
// chosen rank, and the last one at which thin factors are smaller than the matrix.
export function drawShares(svg, shares, random, rank, worthwhile, title) {
  const x = (place) => PLOT.left + (place / shares.length) * (RIGHT - PLOT.left);
  const y = height(1);
  const points = (curve) => [0, ...curve].map((share, place) => `${x(place)},${y(share)}`).join(" ");
  svg.replaceChildren(
    ...axes([0, 0.5, 1].map((share) => [y(share), `${100 * share}%`])),
    ...ranks(shares.length, x, title),
    shape("line", { x1: x(worthwhile), y1: PLOT.top, x2: x(worthwhile), y2: BOTTOM, class: "llm-worthwhile" }),
    shape("polyline", { points: points(random), class: "llm-curve llm-random" }),
    shape("polyline", { points: points(shares), class: "llm-curve" }),
    shape("circle", { cx: x(rank), cy: y(shares[rank - 1]), r: 5, class: "llm-now" }),
  );
}

function height(largest) {
  return (value) => BOTTOM - (value / largest) * (BOTTOM - PLOT.top);
}

// The left axis with its labels, [place, text] each, and the lower one.
function axes(labels) {
  const line = (x2, y2) => shape("line", { x1: PLOT.left, y1: BOTTOM, x2, y2, class: "llm-axis-line" });
  return [line(RIGHT, BOTTOM), line(PLOT.left, PLOT.top), ...labels.map(([y, text]) => label(PLOT.left - 5, y + 4, text, "end"))];
}

// Numbers below: the first rank, the middle, the last.
function ranks(most, x, title) {
  const places = [...new Set([1, Math.ceil(most / 2), most])];
  const numbers = places.map((place) => label(x(place), BOTTOM + 16, String(place), place === most ? "end" : "middle"));
  return [...numbers, label((PLOT.left + RIGHT) / 2, PLOT.height - 4, title, "middle")];
}

function label(x, y, text, anchor) {
  return shape("text", { x, y, "text-anchor": anchor }, text);
}

function written(value) {
  return value === 0 ? "0" : value.toPrecision(2);
}
