// Positions explorer: a clock for each pair, the dot product against the distance, every angle as a table.

import { button, choice, follow, node, shape, slider, store } from "./dom.js";
import { frequencies, product, sinusoidal, turn } from "./turns.js";
import { speaker } from "./texts.js";

const STATE = ["kind", "theta", "query_at", "key_at"];
const RADIUS = 34;
const CELL = 84;
const PLOT = { width: 480, height: 190, left: 44, right: 10, top: 10, bottom: 34 };

const TEXTS = {
  title: { en: "Positions explorer", zh: "位置编码演示" },
  kind: { en: "Positions", zh: "位置编码" },
  rotary: { en: "rotary (turned)", zh: "旋转（转动向量）" },
  sinusoidal: { en: "sinusoidal (added)", zh: "正弦（加到向量上）" },
  query: { en: "Query stands at", zh: "查询的位置" },
  key: { en: "Key stands at", zh: "键的位置" },
  theta: { en: "Base θ", zh: "底数 θ" },
  together: { en: "Move both by one", zh: "两个一起后移一位" },
  reset: { en: "Reset", zh: "复原" },
  clocks: {
    en: "One clock for each pair of numbers, from fast to slow: query at {0} (orange), key at {1} (blue)",
    zh: "每个数对是一个钟，从快到慢：查询在 {0}（橙色），键在 {1}（蓝色）",
  },
  plot: {
    en: "Dot product over the distance; now: distance {0}, product {1}",
    zh: "点积随距离的变化；现在距离是 {0}，点积是 {1}",
  },
  distance: { en: "distance (query − key)", zh: "距离（查询 − 键）" },
  table: { en: "Angles in degrees", zh: "角度（度）" },
  pair: { en: "pair", zh: "数对" },
  wave: { en: "positions per turn", zh: "转一圈要几个位置" },
  at_query: { en: "query", zh: "查询" },
  at_key: { en: "key", zh: "键" },
  vector: { en: "numbers at the query", zh: "查询处的两个数" },
  between: { en: "between them", zh: "两者之差" },
};

function render({ model, el }) {
  const say = speaker(TEXTS, model.get("lang"));
  const parts = build(model, say);
  el.replaceChildren(parts.root);
  return follow(model, STATE, parts.draw);
}

function build(model, say) {
  const start = Object.fromEntries(STATE.map((name) => [name, model.get(name)]));
  const largest = model.get("largest");
  const place = (label, name) =>
    slider(say(label), { min: 0, max: largest, step: 1, value: model.get(name) }, (value) => store(model, { [name]: value }));
  const pairs = model.get("query").length / 2;
  const parts = {
    kind: choice(say("kind"), ["rotary", "sinusoidal"].map((name) => [name, say(name)]), model.get("kind"), (kind) =>
      store(model, { kind }),
    ),
    query: place("query", "query_at"),
    key: place("key", "key_at"),
    theta: slider(
      say("theta"),
      { min: 1, max: 6, step: 0.05, value: Math.log10(model.get("theta")), words: (log) => (10 ** log).toFixed(0) },
      (log) => store(model, { theta: 10 ** log }),
    ),
    clocks: shape("svg", { viewBox: `0 0 ${CELL * Math.min(pairs, 6)} ${CELL * Math.ceil(pairs / 6)}`, class: "llm-clocks", role: "img" }),
    clocksCaption: node("figcaption"),
    plot: shape("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, class: "llm-plot", role: "img" }),
    plotCaption: node("figcaption", { "aria-live": "polite" }),
    table: node("table"),
  };
  const together = button(say("together"), () => {
    const [query_at, key_at] = [model.get("query_at") + 1, model.get("key_at") + 1];
    if (Math.max(query_at, key_at) <= largest) store(model, { query_at, key_at });
  });
  const fields = [parts.kind, parts.query, parts.key, parts.theta].map((one) => one.element);
  parts.draw = () => draw(model, say, parts);
  parts.root = node(
    "section",
    { class: "llm-explorer", "aria-label": say("title") },
    node("div", { class: "llm-controls" }, ...fields, together, button(say("reset"), () => store(model, start))),
    node("figure", { class: "llm-wide" }, parts.clocks, parts.clocksCaption),
    node("figure", { class: "llm-wide" }, parts.plot, parts.plotCaption),
    node("div", { class: "llm-panes" }, parts.table),
  );
  return parts;
}

function draw(model, say, parts) {
  const [kind, theta, queryAt, keyAt] = STATE.map((name) => model.get(name));
  const [query, key] = [model.get("query"), model.get("key")];
  parts.kind.input.value = kind;
  parts.query.set(queryAt);
  parts.key.set(keyAt);
  parts.theta.set(Math.log10(theta));
  const turning = frequencies(query.length, theta);
  drawClocks(parts, say, turning, queryAt, keyAt);
  drawPlot(parts, say, (distance) => product(kind, query, key, distance, 0, theta), queryAt - keyAt, model.get("largest"));
  const vector = kind === "rotary" ? turn(query, queryAt, theta) : sinusoidal(queryAt, query.length, theta);
  const half = query.length / 2;
  const numbers = turning.map((_, i) => (kind === "rotary" ? [vector[i], vector[i + half]] : vector.slice(2 * i, 2 * i + 2)));
  drawTable(parts.table, say, turning, [queryAt, keyAt], numbers);
}

function drawClocks(parts, say, turning, queryAt, keyAt) {
  const clocks = turning.flatMap((frequency, pair) => {
    const [x, y] = [CELL * ((pair % 6) + 0.5), CELL * (Math.floor(pair / 6) + 0.5)];
    const hand = (position, kind) => {
      const angle = position * frequency;
      return shape("line", { x1: x, y1: y, x2: x + RADIUS * Math.cos(angle), y2: y - RADIUS * Math.sin(angle), class: kind });
    };
    const face = shape("circle", { cx: x, cy: y, r: RADIUS, class: "llm-face" });
    return [face, hand(keyAt, "llm-hand-key"), hand(queryAt, "llm-hand-query")];
  });
  const caption = say("clocks", queryAt, keyAt);
  parts.clocks.setAttribute("aria-label", caption);
  parts.clocksCaption.textContent = caption;
  parts.clocks.replaceChildren(...clocks);
}

function drawPlot(parts, say, at, distance, largest) {
  const distances = [...Array(2 * largest + 1).keys()].map((place) => place - largest);
  const values = distances.map(at);
  const reach = Math.max(1e-9, ...values.map(Math.abs));
  const x = (place) => PLOT.left + ((place + largest) / (2 * largest)) * (PLOT.width - PLOT.left - PLOT.right);
  const y = (value) => PLOT.top + ((reach - value) / (2 * reach)) * (PLOT.height - PLOT.top - PLOT.bottom);
  const line = (x1, y1, x2, y2, kind) => shape("line", { x1, y1, x2, y2, class: kind });
  const write = (left, top, text, anchor) => shape("text", { x: left, y: top, "text-anchor": anchor }, text);
  const bottom = PLOT.height - PLOT.bottom;
  parts.plot.replaceChildren(
    line(x(-largest), y(0), x(largest), y(0), "llm-axis-line"),
    line(x(0), PLOT.top, x(0), bottom, "llm-axis-line"),
    ...[reach, 0, -reach].map((value) => write(PLOT.left - 4, y(value) + 4, value.toFixed(1), "end")),
    ...[-largest, 0, largest].map((place) => write(x(place), bottom + 17, String(place), "middle")),
    write(x(0), PLOT.height - 4, say("distance"), "middle"),
    shape("polyline", { points: distances.map((place, at) => `${x(place)},${y(values[at])}`).join(" "), class: "llm-curve" }),
    shape("circle", { cx: x(distance), cy: y(at(distance)), r: 5, class: "llm-now" }),
  );
  const caption = say("plot", distance, at(distance).toFixed(3));
  parts.plot.setAttribute("aria-label", caption);
  parts.plotCaption.textContent = caption;
}

function drawTable(table, say, turning, [queryAt, keyAt], numbers) {
  const degrees = (angle) => ((((angle * 180) / Math.PI) % 360) + 360) % 360;
  const head = ["pair", "wave", "at_query", "at_key", "between", "vector"].map((name) => node("th", { scope: "col" }, say(name)));
  const rows = turning.map((frequency, pair) => {
    const angles = [queryAt, keyAt, queryAt - keyAt].map((place) => degrees(place * frequency).toFixed(1));
    const both = numbers[pair].map((number) => number.toFixed(2)).join(", ");
    const cells = [((2 * Math.PI) / frequency).toFixed(1), ...angles, both].map((text) => node("td", {}, text));
    return node("tr", {}, node("th", { scope: "row" }, String(pair)), ...cells);
  });
  table.replaceChildren(node("caption", {}, say("table")), node("tr", {}, ...head), ...rows);
}

export default { render };
