// How long a text is, counted in several ways.

const SEGMENTERS = new Map();

// Words as a reader of the language counts them: Chinese and Japanese have no blanks between theirs. Code has none of
// its own language ("": what stands between blanks).
export function wordsIn(text, lang) {
  if (!lang || !globalThis.Intl?.Segmenter) return text.split(/\s+/u).filter(Boolean).length;
  if (!SEGMENTERS.has(lang)) SEGMENTERS.set(lang, new Intl.Segmenter(lang, { granularity: "word" }));
  return [...SEGMENTERS.get(lang).segment(text)].filter(({ isWordLike }) => isWordLike).length;
}

// {characters, bytes, words, tokens, perWord, perCharacter}; `perWord`, tokens per word, is what is called fertility.
export function measures(text, lang, tokens) {
  const [characters, words] = [[...text].length, wordsIn(text, lang)];
  const bytes = new TextEncoder().encode(text).length;
  return { characters, bytes, words, tokens, perWord: tokens / words, perCharacter: tokens / characters };
}
