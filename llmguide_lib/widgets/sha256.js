// SHA-256 of bytes, as hexadecimal digits. The browser's own is missing on pages that came over plain http.
// Source: FIPS 180-4, section 6.2.

const PRIMES = firstPrimes(64);
const ROUNDS = PRIMES.map((prime) => fraction(Math.cbrt(prime)));
const START = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));

export function sha256(bytes) {
  const state = Uint32Array.from(START);
  const words = new Uint32Array(64);
  const whole = bytes.length - (bytes.length % 64);
  for (let at = 0; at < whole; at += 64) digestBlock(state, words, bytes, at);
  const end = lastBlocks(bytes, whole);
  for (let at = 0; at < end.length; at += 64) digestBlock(state, words, end, at);
  return [...state].map((word) => word.toString(16).padStart(8, "0")).join("");
}

// What is left after the whole blocks, a bit that ends it, zeros, and the length in bits.
function lastBlocks(bytes, whole) {
  const rest = bytes.subarray(whole);
  const end = new Uint8Array(rest.length < 56 ? 64 : 128);
  end.set(rest);
  end[rest.length] = 0x80;
  const view = new DataView(end.buffer);
  view.setUint32(end.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(end.length - 4, bytes.length * 8);
  return end;
}

function digestBlock(state, words, bytes, start) {
  for (let t = 0; t < 16; t++) {
    const at = start + 4 * t;
    words[t] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }
  for (let t = 16; t < 64; t++) {
    const [x, y] = [words[t - 15], words[t - 2]];
    const first = turned(x, 7) ^ turned(x, 18) ^ (x >>> 3);
    words[t] = (turned(y, 17) ^ turned(y, 19) ^ (y >>> 10)) + words[t - 7] + first + words[t - 16];
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let t = 0; t < 64; t++) {
    const chosen = (e & f) ^ (~e & g);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    const one = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + chosen + ROUNDS[t] + words[t]) | 0;
    const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + majority) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((word, place) => (state[place] += word));
}

function turned(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

// The first 32 bits behind the point.
function fraction(number) {
  return Math.floor((number - Math.floor(number)) * 2 ** 32) >>> 0;
}

function firstPrimes(count) {
  const primes = [];
  for (let number = 2; primes.length < count; number++) {
    if (primes.every((prime) => number % prime)) primes.push(number);
  }
  return primes;
}
