// Byte-level BPE from a tokenizer.json: the ids of llmguide_lib.tokenizers.BPETokenizer, and tested so.

import { Refusal } from "./refusals.js";

// Python's \s is the White_Space of Unicode; JavaScript's differs from it in two characters.
const PIECES =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const CACHED_PIECES = 10_000;

export class Tokenizer {
  constructor(content) {
    checkFile(content);
    const { vocab, merges } = content.model;
    this.special = new Map(content.added_tokens.map((token) => [token.content, token.id]));
    const ids = new Map([...Object.entries(vocab), ...this.special]);
    this.tokens = []; // the bytes of each id
    for (const [token, id] of ids) this.tokens[id] = this.special.has(token) ? utf8(token) : bytesOf(token);
    const ordinary = new Map(Object.entries(vocab).filter(([token]) => !this.special.has(token)));
    this.ofByte = BYTE_CHARACTERS.map((character) => ordinary.get(character));
    this.ranks = new Map(); // of a pair of ids
    this.merged = merges.map((pair, rank) => {
      const [left, right] = typeof pair === "string" ? pair.split(" ") : pair;
      this.ranks.set(this.pair(ordinary.get(left), ordinary.get(right)), rank);
      return ordinary.get(left + right);
    });
    this.cache = new Map();
  }

  // Special tokens are recognised only if `allowed` names them, as in Python.
  encode(text, allowed = []) {
    const half = text.search(/\p{Surrogate}/u);
    if (half >= 0) throw new Refusal("surrogate", [...text.slice(0, half)].length + 1);
    const ids = [];
    for (const [place, part] of this.parts(text, allowed).entries()) {
      if (place % 2) ids.push(this.special.get(part));
      else for (const piece of part.match(PIECES) ?? []) ids.push(...this.piece(piece));
    }
    return ids;
  }

  // The pieces between which nothing is merged, each with its tokens' ids.
  words(text) {
    this.encode(text); // refuses what cannot be encoded
    return (text.match(PIECES) ?? []).map((piece) => ({ text: piece, ids: this.piece(piece) }));
  }

  // How a piece becomes its tokens: its bytes' ids, then after each merge {rank, at, ids}; `at` is the new token's place.
  steps(piece) {
    const ids = this.single(utf8(piece));
    const steps = [{ ids: [...ids] }];
    this.merge(ids, (rank, at) => steps.push({ rank, at, ids: [...ids] }));
    return steps;
  }

  // Bytes that are not UTF-8, as when a character is cut, become U+FFFD.
  decode(ids) {
    const text = this.stream();
    return ids.map((id) => text.add(id)).join("") + text.end();
  }

  // Decodes id by id: `add` gives what is complete, a character cut in two comes with its second half.
  stream() {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      add: (id) => decoder.decode(this.bytes(id), { stream: true }),
      end: () => decoder.decode(),
    };
  }

  // A token by itself; one that is only a part of a character is spelled as its bytes.
  spell(id) {
    try {
      return new TextDecoder("utf-8", { ignoreBOM: true, fatal: true }).decode(this.bytes(id));
    } catch (error) {
      if (error instanceof Refusal) throw error;
      return Array.from(this.bytes(id), (byte) => `⟨${byte.toString(16).toUpperCase().padStart(2, "0")}⟩`).join("");
    }
  }

  bytes(id) {
    if (!this.tokens[id]) throw new Refusal("id", id, this.tokens.length - 1);
    return this.tokens[id];
  }

  // Every second part is a special token; of two that start together the longer one counts.
  parts(text, allowed) {
    const strange = allowed.find((token) => !this.special.has(token));
    if (strange !== undefined) throw new Refusal("unknown", strange, [...this.special.keys()].join(", "));
    if (!allowed.length) return [text];
    const spelled = allowed.toSorted((a, b) => b.length - a.length).map((token) => token.replace(/[^\w\s]/gu, "\\$&"));
    return text.split(new RegExp(`(${spelled.join("|")})`));
  }

  piece(piece) {
    if (this.cache.size > CACHED_PIECES) this.cache.clear();
    if (!this.cache.has(piece)) this.cache.set(piece, this.merge(this.single(utf8(piece))));
    return this.cache.get(piece);
  }

  single(bytes) {
    return Array.from(bytes, (byte) => {
      if (this.ofByte[byte] === undefined) throw new Refusal("uncoded", byte);
      return this.ofByte[byte];
    });
  }

  // Merges the pair that was learned first, the leftmost of equals, until no pair is left; `tell` hears of each.
  merge(ids, tell = () => {}) {
    const rankAt = (at) => (at < 0 || at + 1 >= ids.length ? Infinity : this.ranks.get(this.pair(ids[at], ids[at + 1])) ?? Infinity);
    const ranks = ids.map((_, at) => rankAt(at));
    for (;;) {
      let at = 0;
      for (let other = 1; other < ranks.length; other++) if (ranks[other] < ranks[at]) at = other;
      if (!(ranks[at] < Infinity)) return ids;
      const rank = ranks[at];
      ids.splice(at, 2, this.merged[rank]);
      tell(rank, at);
      ranks.splice(at, 1);
      ranks[at] = rankAt(at);
      if (at) ranks[at - 1] = rankAt(at - 1);
    }
  }

  pair(left, right) {
    return left * this.tokens.length + right;
  }
}

// The character that stands for each byte in the file: itself if it prints, else one from U+0100 on.
const BYTE_CHARACTERS = byteCharacters();
const BYTES = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

function byteCharacters() {
  let moved = 256;
  const prints = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : moved++));
}

function bytesOf(spelled) {
  return Uint8Array.from(spelled, (character) => BYTES.get(character));
}

function utf8(text) {
  return new TextEncoder().encode(text);
}

function checkFile({ model, normalizer, pre_tokenizer: splits }) {
  const rules = [
    ["model.type", model.type, "BPE"],
    ["model.ignore_merges", model.ignore_merges ?? false, false],
    ["normalizer", normalizer ?? null, null],
    ["pre_tokenizer.type", splits?.type, "ByteLevel"],
    ["pre_tokenizer.add_prefix_space", splits?.add_prefix_space, false],
    ["pre_tokenizer.use_regex", splits?.use_regex ?? true, true],
  ];
  for (const [name, value, wanted] of rules) if (value !== wanted) throw new Refusal("tokenizer", name, String(wanted));
}
