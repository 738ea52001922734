// Attention explorer: queries and keys in a plane, their weights as a matrix, one query's arithmetic as a table.

import { button, change, choice, follow, node, shape, slider, store } from "./dom.js";
import { dot, mask, weigh } from "./numbers.js";
import { speaker } from "./texts.js";

const REACH = 3; // the plane shows -3 to 3 on both axes
const SIZE = 320;
const STATE = ["query_vectors", "key_vectors", "divisor", "mask", "asking"];

const TEXTS = {
  title: { en: "Attention explorer", zh: "注意力演示" },
  asks: { en: "Word that asks", zh: "发问的词" },
  moves: { en: "Arrow to move", zh: "要移动的箭头" },
  query: { en: "query of “{0}”", zh: "“{0}”的查询" },
  key: { en: "key of “{0}”", zh: "“{0}”的键" },
  right: { en: "right", zh: "横向" },
  up: { en: "up", zh: "纵向" },
  divisor: { en: "Scores divided by", zh: "分数除以" },
  mask: { en: "Mask", zh: "掩码" },
  none: { en: "none", zh: "无" },
  causal: { en: "causal", zh: "因果掩码" },
  reset: { en: "Reset", zh: "复原" },
  plane: {
    en: "Keys (blue) and the query of “{0}” (orange). Drag a dot, or use the sliders.",
    zh: "蓝色是键，橙色是“{0}”的查询。拖动圆点，或者用滑块移动。",
  },
  matrix: { en: "All weights: row = who asks, column = who is asked", zh: "全部权重：行是发问的词，列是被问的词" },
  choose: { en: "show the arithmetic of “{0}”", zh: "显示“{0}”的计算过程" },
  hand: { en: "The row of “{0}”, step by step", zh: "“{0}”这一行的计算过程" },
  word: { en: "key", zh: "键" },
  weight: { en: "weight", zh: "权重" },
  masked: { en: "masked", zh: "被遮住" },
  sum: { en: "sum", zh: "总和" },
  value: { en: "× value", zh: "× 值" },
  output: { en: "output {0}", zh: "输出 {0}" },
};

function render({ model, el }) {
  const say = speaker(TEXTS, model.get("lang"));
  const parts = build(model, say);
  el.replaceChildren(parts.root);
  return follow(model, STATE, parts.draw);
}

function build(model, say) {
  const words = model.get("words");
  const start = Object.fromEntries(STATE.map((name) => [name, model.get(name)]));
  const arrows = [["query", ""], ...words.map((word, at) => [at, say("key", word)])];
  const move = (axis) => (value) => place(model, parts.moving, axis ? { y: value } : { x: value });
  const parts = {
    moving: "query", // or the number of a key
    ask: (at) => store(model, { asking: Number(at) }),
    hold: (name) => {
      parts.moving = name;
      parts.draw();
    },
    draw: () => draw(model, say, parts),
    right: slider(say("right"), axis(), move(0)),
    up: slider(say("up"), axis(), move(1)),
    divisor: slider(
      say("divisor"),
      { min: -1, max: 1.5, step: 0.01, value: 0, words: (log) => (10 ** log).toFixed(2) },
      (log) => store(model, { divisor: 10 ** log }),
    ),
    mask: choice(say("mask"), ["none", "causal"].map((name) => [name, say(name)]), "none", (name) =>
      store(model, { mask: name }),
    ),
    plane: shape("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "llm-plane", role: "img" }),
    caption: node("figcaption"),
    hand: node("table", { class: "llm-hand" }),
  };
  parts.asks = choice(say("asks"), words.map((word, at) => [at, word]), 0, parts.ask);
  parts.moves = choice(say("moves"), arrows, "query", parts.hold);
  parts.matrix = matrix(say, words, parts.ask);
  parts.drag = dragging(model, parts);
  const fields = [parts.asks, parts.moves, parts.right, parts.up, parts.divisor, parts.mask].map((one) => one.element);
  const reset = button(say("reset"), () => store(model, start));
  parts.root = node(
    "section",
    { class: "llm-explorer", "aria-label": say("title") },
    node("div", { class: "llm-controls" }, ...fields, reset),
    node(
      "div",
      { class: "llm-panes" },
      node("figure", {}, parts.plane, parts.caption),
      node("div", {}, parts.matrix.table, parts.hand),
    ),
  );
  return parts;
}

function axis() {
  return { min: -REACH, max: REACH, step: 0.05, value: 0, words: (value) => value.toFixed(2) };
}

// Where the arrow that is being moved is stored.
function target(model, moving) {
  return moving === "query" ? ["query_vectors", model.get("asking")] : ["key_vectors", Number(moving)];
}

function place(model, moving, { x, y }) {
  const [name, word] = target(model, moving);
  const [oldX, oldY] = model.get(name)[word];
  store(model, { [name]: model.get(name).map((old, at) => (at === word ? [x ?? oldX, y ?? oldY] : old)) });
}

// Gives each arrow a listener that takes hold of it; the plane moves what is held.
function dragging(model, parts) {
  let held = false;
  const inside = (value) => Math.round(20 * Math.max(-REACH, Math.min(REACH, value))) / 20;
  change(parts.plane, {
    pointermove: (event) => {
      if (!held) return;
      const box = parts.plane.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * 2 * REACH - REACH;
      const y = REACH - ((event.clientY - box.top) / box.height) * 2 * REACH;
      place(model, parts.moving, { x: inside(x), y: inside(y) });
    },
    pointerup: () => (held = false),
    pointercancel: () => (held = false),
  });
  return (name) => (event) => {
    event.preventDefault();
    held = true;
    parts.plane.setPointerCapture(event.pointerId);
    parts.hold(name);
  };
}

function draw(model, say, parts) {
  const [words, queries, keys, divisor, asking] = ["words", "query_vectors", "key_vectors", "divisor", "asking"].map((name) =>
    model.get(name),
  );
  const allowed = mask(words.length, { causal: model.get("mask") === "causal" });
  const rows = queries.map((query, t) => weigh(query, keys, divisor, allowed[t]));
  const [name, word] = target(model, parts.moving);
  const [x, y] = model.get(name)[word];
  parts.right.set(x);
  parts.up.set(y);
  parts.divisor.set(Math.log10(divisor));
  parts.asks.input.value = asking;
  parts.mask.input.value = model.get("mask");
  parts.moves.input.value = parts.moving;
  parts.moves.input.firstChild.textContent = say("query", words[asking]);
  drawPlane(parts, say, words, { query: queries[asking], keys, row: rows[asking], asking, allowed: allowed[asking] });
  drawMatrix(parts.matrix, rows, allowed, asking);
  drawHand(parts.hand, say, words, { row: rows[asking], allowed: allowed[asking], asking, divisor, values: model.get("values") });
}

function screen([x, y]) {
  return [((x + REACH) / (2 * REACH)) * SIZE, ((REACH - y) / (2 * REACH)) * SIZE];
}

function drawPlane(parts, say, words, { query, keys, row, asking, allowed }) {
  const grid = [...Array(2 * REACH + 1).keys()].flatMap((at) => {
    const line = (at * SIZE) / (2 * REACH);
    const kind = at === REACH ? "llm-axis-line" : "llm-grid-line";
    return [
      shape("line", { x1: line, x2: line, y1: 0, y2: SIZE, class: kind }),
      shape("line", { y1: line, y2: line, x1: 0, x2: SIZE, class: kind }),
    ];
  });
  const arrows = keys.map((key, at) => {
    const kind = allowed[at] ? "llm-key" : "llm-key llm-masked";
    return arrow(key, words[at], kind, 1.5 + 6 * row.weights[at], parts.drag(at));
  });
  arrows.push(arrow(query, `q(${words[asking]})`, "llm-query", 3, parts.drag("query")));
  parts.plane.setAttribute("aria-label", say("plane", words[asking]));
  parts.caption.textContent = say("plane", words[asking]);
  parts.plane.replaceChildren(...grid, ...arrows);
}

function arrow(point, label, kind, width, pointerdown) {
  const [x, y] = screen(point);
  const middle = SIZE / 2;
  const left = x > 0.75 * SIZE;
  const above = kind !== "llm-query"; // labels of a key and the query that points at it do not cover each other
  return shape(
    "g",
    { class: kind },
    shape("line", { x1: middle, y1: middle, x2: x, y2: y, "stroke-width": width }),
    shape("circle", { cx: x, cy: y, r: 7, pointerdown }),
    shape("text", { x: left ? x - 11 : x + 11, y: above && y > 16 ? y - 6 : y + 16, "text-anchor": left ? "end" : "start" }, label),
  );
}

function matrix(say, words, ask) {
  const head = words.map((word) => node("th", { scope: "col" }, word));
  const lines = words.map((word, t) => {
    const pick = change(button(word, () => ask(t)), { "aria-label": say("choose", word) });
    return { pick, cells: words.map(() => node("td")) };
  });
  const rows = lines.map(({ pick, cells }) => node("tr", {}, node("th", { scope: "row" }, pick), ...cells));
  const caption = node("caption", {}, say("matrix"));
  return { table: node("table", { class: "llm-matrix" }, caption, node("tr", {}, node("td"), ...head), ...rows), lines };
}

function drawMatrix({ lines }, rows, allowed, asking) {
  lines.forEach(({ pick, cells }, t) => {
    change(pick.closest("tr"), { class: t === asking && "llm-chosen" });
    change(pick, { "aria-pressed": String(t === asking) });
    cells.forEach((cell, s) => paint(cell, rows[t].weights[s], allowed[t][s] ? rows[t].weights[s].toFixed(2) : "·"));
  });
}

function paint(cell, weight, text) {
  cell.textContent = text;
  cell.style.setProperty("--weight", weight.toFixed(3));
}

function drawHand(table, say, words, { row, allowed, asking, divisor, values }) {
  const head = [say("word"), "q · k", `÷ ${divisor.toFixed(2)}`, "e^…", say("weight")];
  if (values.length) head.push(say("value"));
  const lines = words.map((word, at) => {
    const steps = allowed[at] ? [row.scores[at].toFixed(2), short(row.exponentials[at])] : [say("masked"), "0"];
    const cells = [row.raw[at].toFixed(2), ...steps].map((text) => node("td", {}, text));
    const weight = node("td", { class: "llm-bar" });
    paint(weight, row.weights[at], row.weights[at].toFixed(3));
    const value = values.length ? [node("td", {}, String(values[at]))] : [];
    return node("tr", {}, node("th", { scope: "row" }, word), ...cells, weight, ...value);
  });
  const total = row.exponentials.reduce((a, b) => a + b, 0);
  const sums = ["", "", short(total), row.weights.reduce((a, b) => a + b, 0).toFixed(3)];
  if (values.length) sums.push(say("output", dot(row.weights, values).toFixed(1)));
  const foot = node("tr", {}, node("th", { scope: "row" }, say("sum")), ...sums.map((text) => node("td", {}, text)));
  table.replaceChildren(
    node("caption", {}, say("hand", words[asking])),
    node("tr", {}, ...head.map((text) => node("th", { scope: "col" }, text))),
    ...lines,
    foot,
  );
}

function short(value) {
  return value >= 1e5 ? value.toExponential(1) : value.toPrecision(3);
}

export default { render };
