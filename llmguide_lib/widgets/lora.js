// LoRA explorer: a slider for the rank, what it keeps of an update, and what it costs.

import { bytes } from "./anatomy-numbers.js";
import { percent } from "./bars.js";
import { change, choice, follow, node, slider, store } from "./dom.js";
import { fullRank, kept, missed, rankFor, thin, whole, withValues, worthwhile } from "./ranks.js";
import { drawShares, drawValues, plot } from "./spectrum.js";
import { speaker } from "./texts.js";

const STATE = ["chosen", "rank", "bits"];
const BITS = [32, 16];
const MOST_KEPT = 0.9;

const TEXTS = {
  title: { en: "LoRA rank explorer", zh: "LoRA 秩演示" },
  chosen: { en: "Map", zh: "线性映射" },
  rank: { en: "Rank", zh: "秩" },
  bits: { en: "Bits per number", zh: "每个数的比特数" },
  values: {
    en: "Singular values σ of the update Δ ({0} × {1}), the largest first; the first {2} are kept",
    zh: "更新量 Δ（{0} × {1}）的奇异值 σ，从大到小；保留前 {2} 个",
  },
  shares: {
    en: "Energy kept at each rank; at rank {0}: {1}. Dashed: a random matrix of this shape, {2}. Dotted: rank {3}, the last at which the thin matrices hold fewer numbers than the whole one",
    zh: "取不同的秩时保留的能量（平方和的占比）；秩为 {0} 时是 {1}。虚线：同样形状的随机矩阵，{2}。点线：秩 {3}，再大，两个细长矩阵的参数就不比整个矩阵少了",
  },
  axis: { en: "rank", zh: "秩" },
  table: { en: "At rank {0}", zh: "秩为 {0} 时" },
  this: { en: "this map", zh: "这个映射" },
  all: { en: "all {0}", zh: "全部 {0} 个" },
  kept: { en: "energy kept (share of Σ σ²)", zh: "保留的能量（占 Σ σ² 的比例）" },
  random: { en: "... of a random matrix", zh: "同样形状的随机矩阵" },
  missed: { en: "relative error, ‖Δ − BA‖ / ‖Δ‖", zh: "相对误差 ‖Δ − BA‖ / ‖Δ‖" },
  most: { en: "rank that keeps 90%", zh: "保留 90% 所需的秩" },
  trained: { en: "numbers trained", zh: "要训练的参数个数" },
  stored: { en: "bytes stored", zh: "存储的字节数" },
  of: { en: "{0} of {1} ({2})", zh: "{0} / {1}（{2}）" },
};

function render({ model, el }) {
  const say = speaker(TEXTS, model.get("lang"));
  const parts = build(model, say);
  el.replaceChildren(parts.root);
  return follow(model, STATE, () => draw(model, say, parts));
}

function build(model, say) {
  const maps = model.get("maps");
  const choose = (name) => {
    const most = fullRank([named(maps, name)]);
    store(model, { rank: Math.min(model.get("rank"), most), chosen: name }); // each is drawn at once: no rank too high
  };
  const most = fullRank([named(maps, model.get("chosen"))]);
  const parts = {
    chosen: choice(say("chosen"), maps.map(({ name }) => [name, name]), model.get("chosen"), choose),
    rank: slider(say("rank"), { min: 1, max: most, step: 1, value: model.get("rank") }, (rank) => store(model, { rank })),
    bits: choice(say("bits"), BITS.map((one) => [one, one]), model.get("bits"), (bits) => store(model, { bits: Number(bits) })),
    values: picture(),
    shares: picture({ "aria-live": "polite" }),
    table: node("table", { class: "llm-whole" }),
  };
  const fields = [parts.chosen, parts.rank, parts.bits].map((one) => one.element);
  parts.root = node(
    "section",
    { class: "llm-explorer", "aria-label": say("title") },
    node("div", { class: "llm-controls" }, ...fields),
    parts.values.element,
    parts.shares.element,
    node("div", { class: "llm-panes" }, parts.table),
  );
  return parts;
}

function picture(attributes = {}) {
  const [svg, caption] = [plot(), node("figcaption", attributes)];
  const tell = (text) => {
    svg.setAttribute("aria-label", text);
    caption.textContent = text;
  };
  return { svg, tell, element: node("figure", { class: "llm-wide" }, svg, caption) };
}

function named(maps, name) {
  return maps.find((one) => one.name === name);
}

function draw(model, say, parts) {
  const [name, rank, bits] = STATE.map((key) => model.get(key));
  const maps = model.get("maps");
  const chosen = named(maps, name);
  parts.chosen.input.value = name;
  parts.bits.input.value = bits;
  change(parts.rank.element.querySelector("input"), { max: fullRank([chosen]) });
  parts.rank.set(rank);
  const chance = (one) => withValues(one, model.get("random")[`${one.rows} × ${one.columns}`]);
  const [ours, random] = [chosen, chance(chosen)].map((one) => kept([one]));
  drawValues(parts.values.svg, chosen.values, rank, say("axis"));
  parts.values.tell(say("values", chosen.rows, chosen.columns, rank));
  drawShares(parts.shares.svg, ours, random, rank, worthwhile(chosen), say("axis"));
  parts.shares.tell(say("shares", rank, percent(ours[rank - 1]), percent(random[rank - 1]), worthwhile(chosen)));
  drawTable(parts.table, say, [[chosen], maps], chance, rank, bits);
}

// A column for the chosen map, and one for all of them together.
function drawTable(table, say, columns, chance, rank, bits) {
  const share = (part, total, words) => say("of", words(part), words(total), percent(part / total));
  const comma = (number) => number.toLocaleString("en-US");
  const rows = {
    kept: (maps) => percent(kept(maps)[rank - 1]),
    random: (maps) => percent(kept(maps.map(chance))[rank - 1]),
    missed: (maps) => percent(missed(maps, rank)),
    most: (maps) => rankFor(maps, MOST_KEPT),
    mostRandom: (maps) => rankFor(maps.map(chance), MOST_KEPT),
    trained: (maps) => share(thin(maps, rank), whole(maps), comma),
    stored: (maps) => share((thin(maps, rank) * bits) / 8, (whole(maps) * bits) / 8, bytes),
  };
  const title = (name) => say(name === "mostRandom" ? "random" : name);
  const head = [say("this"), say("all", columns[1].length)].map((text) => node("th", { scope: "col" }, text));
  const lines = Object.entries(rows).map(([name, words]) =>
    node("tr", {}, node("th", { scope: "row" }, title(name)), ...columns.map((maps) => node("td", {}, String(words(maps))))),
  );
  table.replaceChildren(node("caption", {}, say("table", rank)), node("tr", {}, node("td"), ...head), ...lines);
}

export default { render };
