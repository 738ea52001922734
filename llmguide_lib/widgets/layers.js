// The parts of a layer. Each is made from weights and then called as (x, count): x holds `count` vectors one after
// the other. Sums are in double precision, which is what numbers in JavaScript are; what is stored is float32.

export function same(x) {
  return x;
}

export function linear({ values, shape: [rows, width] }, bias = null) {
  return (x, count) => {
    const result = new Float32Array(count * rows);
    multiply(values, x, { rows, width, count, result });
    if (bias) result.forEach((value, at) => (result[at] = value + bias.values[at % rows]));
    return result;
  };
}

// A product of matrices is most of the work. Four rows at a time, because what is read of x then serves four sums, and
// two positions at a time, because what is read of the matrix then serves both.
function multiply(matrix, x, { rows, width, count, result }) {
  const fours = rows - (rows % 4);
  const pairs = count - (count % 2);
  for (let t = 0; t < pairs; t += 2) {
    for (let row = 0; row < fours; row += 4) fourByTwo(matrix, row, x, t, width, rows, result);
  }
  for (let t = pairs; t < count; t++) {
    for (let row = 0; row < fours; row += 4) fourByOne(matrix, row, x, t, width, rows, result);
  }
  for (let t = 0; t < count; t++) {
    for (let row = fours; row < rows; row++) {
      result[t * rows + row] = dotProduct(matrix, row * width, x, t * width, width);
    }
  }
}

function fourByTwo(matrix, row, x, t, width, rows, result) {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let e = 0;
  let f = 0;
  let g = 0;
  let h = 0;
  const row0 = row * width;
  const row1 = row0 + width;
  const row2 = row1 + width;
  const row3 = row2 + width;
  const x0 = t * width;
  const x1 = x0 + width;
  for (let i = 0; i < width; i++) {
    const u = x[x0 + i];
    const v = x[x1 + i];
    const p = matrix[row0 + i];
    const q = matrix[row1 + i];
    const r = matrix[row2 + i];
    const s = matrix[row3 + i];
    a += p * u;
    b += q * u;
    c += r * u;
    d += s * u;
    e += p * v;
    f += q * v;
    g += r * v;
    h += s * v;
  }
  const at = t * rows + row;
  result[at] = a;
  result[at + 1] = b;
  result[at + 2] = c;
  result[at + 3] = d;
  result[at + rows] = e;
  result[at + rows + 1] = f;
  result[at + rows + 2] = g;
  result[at + rows + 3] = h;
}

function fourByOne(matrix, row, x, t, width, rows, result) {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  const row0 = row * width;
  const row1 = row0 + width;
  const row2 = row1 + width;
  const row3 = row2 + width;
  const start = t * width;
  for (let i = 0; i < width; i++) {
    const value = x[start + i];
    a += matrix[row0 + i] * value;
    b += matrix[row1 + i] * value;
    c += matrix[row2 + i] * value;
    d += matrix[row3 + i] * value;
  }
  const at = t * rows + row;
  result[at] = a;
  result[at + 1] = b;
  result[at + 2] = c;
  result[at + 3] = d;
}

export function dotProduct(a, aStart, b, bStart, width) {
  let sum = 0;
  for (let i = 0; i < width; i++) sum += a[aStart + i] * b[bStart + i];
  return sum;
}

export function rmsNorm({ values: gain }, eps) {
  return normalizer(gain, (x, start, width) => [0, dotProduct(x, start, x, start, width) / width + eps]);
}

export function layerNorm({ values: gain }, eps) {
  return normalizer(gain, (x, start, width) => {
    let [mean, square] = [0, 0];
    for (let i = 0; i < width; i++) mean += x[start + i] / width;
    for (let i = 0; i < width; i++) square += (x[start + i] - mean) ** 2 / width;
    return [mean, square + eps];
  });
}

// `measure` gives what is taken off a vector and the square of what it is divided by. The number of vectors follows
// from the width of the gain, so that it can also norm the heads of a vector one by one.
function normalizer(gain, measure) {
  return (x) => {
    const result = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += gain.length) {
      const [center, square] = measure(x, start, gain.length);
      const factor = 1 / Math.sqrt(square);
      for (let i = 0; i < gain.length; i++) result[start + i] = (x[start + i] - center) * factor * gain[i];
    }
    return result;
  };
}

export function silu(x) {
  return x / (1 + Math.exp(-x));
}

export function gelu(x) {
  return 0.5 * x * (1 + erf(x / Math.SQRT2));
}

// Off by at most 1.5e-7. Source: Abramowitz and Stegun 1964, formula 7.1.26.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

// Turns numbers i and i + headWidth / 2 of every head by angles that grow with the position, in place.
export function rotary(headWidth, theta, maxSeqLen) {
  const half = headWidth / 2;
  const [cosines, sines] = [new Float32Array(maxSeqLen * half), new Float32Array(maxSeqLen * half)];
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(1 / theta ** ((2 * i) / headWidth)); // angles are float32, as in the library
    for (let t = 0; t < maxSeqLen; t++) {
      const angle = Math.fround(t * frequency);
      cosines[t * half + i] = Math.cos(angle);
      sines[t * half + i] = Math.sin(angle);
    }
  }
  return (x, count, start) => {
    const width = x.length / count;
    for (let head = 0; head < x.length; head += headWidth) {
      const angles = (start + Math.floor(head / width)) * half;
      for (let i = 0; i < half; i++) {
        const a = x[head + i];
        const b = x[head + half + i];
        x[head + i] = a * cosines[angles + i] - b * sines[angles + i];
        x[head + half + i] = b * cosines[angles + i] + a * sines[angles + i];
      }
    }
  };
}
