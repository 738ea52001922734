// Reads the weight files that weights.py writes; it says there how they are laid out.

import { Refusal } from "./refusals.js";
import { sha256 } from "./sha256.js";

const MAGIC = "LLMW";
const VERSION = 1;
const PREAMBLE = 48;
const HALVES = Float32Array.from({ length: 2 ** 16 }, (_, bits) => fromHalf(bits)); // looked up: there are millions
const READERS = { float16: readHalves, int8: readRows };

// {family, config, tensors}: tensors maps a name to {shape, values}, the values as float32.
export function readWeights(bytes) {
  const { header, data } = opened(bytes);
  const tensors = new Map();
  for (const { name, shape, dtype, start } of header.tensors) {
    const values = READERS[dtype](data, start, shape);
    if (!values.every(Number.isFinite)) throw new Refusal("notFinite", name);
    tensors.set(name, { shape, values });
  }
  return { family: header.family, config: header.config, tensors };
}

function opened(bytes) {
  if (bytes.length < PREAMBLE) throw new Refusal("truncated", bytes.length, PREAMBLE);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const magic = String.fromCharCode(...bytes.subarray(0, 4));
  if (magic !== MAGIC || view.getUint32(4, true) !== VERSION) throw new Refusal("foreign");
  const start = PREAMBLE + view.getUint32(8, true);
  const end = start + view.getUint32(12, true);
  if (bytes.length !== end) throw new Refusal("truncated", bytes.length, end);
  const hash = [...bytes.subarray(16, PREAMBLE)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (sha256(bytes.subarray(PREAMBLE)) !== hash) throw new Refusal("altered");
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(PREAMBLE, start)));
  return { header, data: bytes.slice(start).buffer }; // a copy, because arrays of floats must begin at multiples of 4
}

function numbersIn(shape) {
  return shape.reduce((a, b) => a * b, 1);
}

function readHalves(data, start, shape) {
  const halves = new Uint16Array(data, start, numbersIn(shape));
  const values = new Float32Array(halves.length);
  for (let at = 0; at < values.length; at++) values[at] = HALVES[halves[at]];
  return values;
}

// float16: a sign, five bits of exponent, ten bits of fraction.
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}

// int8: the scales of the rows, then the rows.
function readRows(data, start, [rows, width]) {
  const scales = new Float32Array(data, start, rows);
  const small = new Int8Array(data, start + 4 * rows, rows * width);
  const values = new Float32Array(small.length);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < width; column++, at++) values[at] = small[at] * scales[row];
  }
  return values;
}
